"""Checkpoints by their name on the Hugging Face Hub, `hf:OWNER/NAME[/FILE][@REVISION]`, downloaded once and kept."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from hypjax.encoders.checkpoint_files import CheckpointError, MissingWeightsError

PREFIX = "hf:"
# What a repository calls its weights, the safest format first.
FILES = ("model.safetensors", "pytorch_model.bin")
_NAME = re.compile(r"hf:([\w.-]+/[\w.-]+)(?:/([^@]+))?(?:@(.+))?")


def download(name: str) -> Path:
    """Path of a checkpoint on the disk, fetched from the Hub unless an earlier call did.

    Args:
        name: `hf:OWNER/NAME`, the repository's `model.safetensors` or else `pytorch_model.bin`;
            `hf:OWNER/NAME/FILE` for another file; `@REVISION` at the end for a branch, a tag or a commit.

    Raises:
        MissingWeightsError: If `huggingface_hub` is not installed; the message is the command that installs it.
        CheckpointError: If the name is none, the repository, file or revision does not exist or is not public, or
            the Hub cannot be reached.

    Example:
        >>> download("hf:vit_small")
        Traceback (most recent call last):
        hypjax.encoders.checkpoint_files.CheckpointError: 'hf:vit_small' is no name on the Hub: give \
hf:OWNER/NAME or hf:OWNER/NAME/FILE, with or without @REVISION
    """
    repository, file, _ = parts(name)
    wanted = (file,) if file else FILES
    for candidate in wanted:
        if (path := fetch(name, candidate)) is not None:
            return path
    raise CheckpointError(f"{name}: the repository has no {' and no '.join(wanted)}; name a file: hf:{repository}/FILE")


def parts(name: str) -> tuple[str, str | None, str | None]:
    """Repository, file and revision that a name is made of.

    Raises:
        CheckpointError: If it is none.
    """
    found = _NAME.fullmatch(name)
    if found is None:
        raise CheckpointError(
            f"{name!r} is no name on the Hub: give hf:OWNER/NAME or hf:OWNER/NAME/FILE, with or without @REVISION"
        )
    repository, file, revision = found.groups()
    return repository, file, revision


def fetch(name: str, file: str) -> Path | None:
    """Path on the disk of a file of the repository that a name stands for; None if it has no such file.

    Raises:
        MissingWeightsError: If `huggingface_hub` is not installed; the message is the command that installs it.
        CheckpointError: If the repository or revision does not exist or is not public, or the Hub cannot be reached.
    """
    repository, _, revision = parts(name)
    try:
        import huggingface_hub
    except ImportError:
        raise MissingWeightsError(f'{name} needs huggingface_hub; run: pip install "hypjax[hub]"') from None
    from huggingface_hub import errors

    download = huggingface_hub.hf_hub_download  # looked up first: the package sets its own level as it loads its parts
    try:
        with _quiet():
            return Path(download(repository, file, revision=revision))
    except errors.LocalEntryNotFoundError:
        known = "the encoder and the file: encoder=NAME," if file.endswith(".json") else "the file: "
        raise CheckpointError(
            f"{name}: the Hub cannot be reached and {file} was never downloaded; "
            f"fetch the weights elsewhere and name {known}weights=FILE"
        ) from None
    except errors.EntryNotFoundError:
        return None
    except Exception as error:  # the package's own, those of its HTTP client and of the disk
        raise CheckpointError(f"{name}: {_reason(error, repository, revision)}") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the package's warnings of each attempt: what comes of them is said once, by the error."""
    logger = logging.getLogger("huggingface_hub")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def _reason(error: Exception, repository: str, revision: str | None) -> str:
    """What went wrong, as far as it can be told; the package's own messages run over ten lines."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return f"{repository} asks for an agreement; accept it on its page, then run: hf auth login"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository} has no revision {revision!r}"
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no public repository {repository}; for a private one run: hf auth login"
    text = " ".join(str(error).split())
    return f"cannot be downloaded ({type(error).__name__}{': ' if text else ''}{text[:200]})"
