import logging
import sys

import numpy as np
import pytest

from hypjax import encoders
from hypjax.encoders import hub
from hypjax.encoders.checkpoint_files import CheckpointError, MissingWeightsError

package = pytest.importorskip("huggingface_hub")


def raised(name):
    """One of the package's errors, whose constructors ask for an answer of the server."""
    kind = getattr(package.errors, name)
    return kind.__new__(kind)


@pytest.fixture
def repository(monkeypatch, tmp_path):
    """A Hub of one repository, owner/net, that holds a folder's files; remembers what it was asked."""
    asked = []

    def fetch(repo_id, filename, *, revision=None):
        asked.append((repo_id, filename, revision))
        if repo_id != "owner/net":
            raise raised("RepositoryNotFoundError")
        if revision not in (None, "main", "refs/pr/1"):
            raise raised("RevisionNotFoundError")
        if not (tmp_path / filename).exists():
            raise raised("EntryNotFoundError")
        return str(tmp_path / filename)

    monkeypatch.setattr(package, "hf_hub_download", fetch)
    return tmp_path, asked


def test_the_safest_file_is_asked_for_first(repository):
    folder, asked = repository
    (folder / "pytorch_model.bin").touch()
    assert hub.download("hf:owner/net") == folder / "pytorch_model.bin"
    (folder / "model.safetensors").touch()
    assert hub.download("hf:owner/net@main") == folder / "model.safetensors"
    assert asked == [
        ("owner/net", "model.safetensors", None),
        ("owner/net", "pytorch_model.bin", None),
        ("owner/net", "model.safetensors", "main"),
    ]


def test_a_file_and_a_revision_may_be_named(repository):
    folder, asked = repository
    (folder / "sub").mkdir()
    (folder / "sub" / "w.npz").touch()
    hub.download("hf:owner/net/sub/w.npz@refs/pr/1")
    assert asked == [("owner/net", "sub/w.npz", "refs/pr/1")]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hf:net", "is no name on the Hub"),
        ("hf:owner/net/", "is no name on the Hub"),
        ("hf:other/net", "no public repository other/net"),
        ("hf:owner/net@v9", "has no revision 'v9'"),
        ("hf:owner/net", "has no model.safetensors and no pytorch_model.bin"),
        ("hf:owner/net/x.pth", "has no x.pth"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(repository, name, words):
    with pytest.raises(CheckpointError, match=words) as caught:
        hub.download(name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ("LocalEntryNotFoundError", "cannot be reached and model.* elsewhere and name the file: weights=FILE$"),
        ("GatedRepoError", "asks for an agreement"),
        ("OfflineModeIsEnabled", "cannot be downloaded"),
    ],
)
def test_a_hub_that_does_not_answer_is_said_in_one_line(monkeypatch, error, words):
    attempts = logging.getLogger("huggingface_hub.utils._http")

    def fetch(*arguments, **options):
        assert not attempts.isEnabledFor(logging.WARNING)
        raise raised(error)

    monkeypatch.setattr(package, "hf_hub_download", fetch)
    before = logging.getLogger("huggingface_hub").level
    with pytest.raises(CheckpointError, match=words):
        hub.download("hf:owner/net")
    assert logging.getLogger("huggingface_hub").level == before


def test_without_the_hub_an_encoder_is_to_be_named(monkeypatch):
    """A repository's configuration is no weights, so that a file of weights alone would not do."""

    def fetch(*arguments, **options):
        raise raised("LocalEntryNotFoundError")

    monkeypatch.setattr(package, "hf_hub_download", fetch)
    with pytest.raises(
        CheckpointError, match=r"config\.json was never .* the encoder and the file: encoder=NAME,weights="
    ):
        encoders.choose("hf:owner/net")


def test_a_missing_package_names_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingWeightsError, match=r'pip install "hypjax\[hub\]"'):
        hub.download("hf:owner/net")


def test_weights_come_from_the_hub_by_name(repository, write_checkpoint):
    folder, _ = repository
    write_checkpoint(folder / "model.safetensors", {"strange": np.zeros(1, np.float32)})
    with pytest.raises(ValueError, match=r"^hf:owner/net does not fit ResNet; .*unexpected: strange"):
        encoders.load_weights("hf:owner/net", encoders.create("resnet18", stages=(1,), width=4), image_size=16)
