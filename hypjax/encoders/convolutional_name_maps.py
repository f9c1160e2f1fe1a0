"""What the tensors of ConvNeXts and ResNets are called, one map for each family of checkpoints."""

from __future__ import annotations

import numpy as np

from hypjax.encoders.dialects import Dialect

_TORCHVISION_UNITS = {0: "conv_dw", 2: "norm", 3: "mlp.fc1", 5: "mlp.fc2"}


def _flat_gains(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: value.reshape(-1) if name.endswith(".gamma") else value for name, value in tensors.items()}


_CONVNEXT_AUTHORS = Dialect(
    "ConvNeXt by its authors' names",
    sign="downsample_layers.0.0.weight",
    names=(
        (r"downsample_layers\.0\.([01])\.(\w+)", r"stem.\1.\2"),
        (r"downsample_layers\.([123])\.([01])\.(\w+)", r"stages.\1.downsample.\2.\3"),
        (r"stages\.(\d)\.(\d+)\.gamma", r"stages.\1.blocks.\2.gamma"),
        (r"stages\.(\d)\.(\d+)\.dwconv\.(\w+)", r"stages.\1.blocks.\2.conv_dw.\3"),
        (r"stages\.(\d)\.(\d+)\.norm\.(\w+)", r"stages.\1.blocks.\2.norm.\3"),
        (r"stages\.(\d)\.(\d+)\.pwconv([12])\.(\w+)", r"stages.\1.blocks.\2.mlp.fc\3.\4"),
        (r"norm\.(\w+)", r"head.norm.\1"),
        (r"head\.(\w+)", r"head.fc.\1"),
    ),
    unused=(r"norms\..+",),  # the last one once more
)
_CONVNEXT_TRANSFORMERS = Dialect(
    "ConvNeXt by the names of transformers",
    sign="encoder.stages.0.layers.0.dwconv.weight",
    wrappers=("convnext.",),
    names=(
        (r"embeddings\.patch_embeddings\.(\w+)", r"stem.0.\1"),
        (r"embeddings\.layernorm\.(\w+)", r"stem.1.\1"),
        (r"encoder\.stages\.(\d)\.downsampling_layer\.([01])\.(\w+)", r"stages.\1.downsample.\2.\3"),
        (r"encoder\.stages\.(\d)\.layers\.(\d+)\.layer_scale_parameter", r"stages.\1.blocks.\2.gamma"),
        (r"encoder\.stages\.(\d)\.layers\.(\d+)\.dwconv\.(\w+)", r"stages.\1.blocks.\2.conv_dw.\3"),
        (r"encoder\.stages\.(\d)\.layers\.(\d+)\.layernorm\.(\w+)", r"stages.\1.blocks.\2.norm.\3"),
        (r"encoder\.stages\.(\d)\.layers\.(\d+)\.pwconv([12])\.(\w+)", r"stages.\1.blocks.\2.mlp.fc\3.\4"),
        (r"layernorm\.(\w+)", r"head.norm.\1"),
        (r"classifier\.(\w+)", r"head.fc.\1"),
    ),
)
_DINOV3_CONVNEXT = Dialect(
    "DINOv3's ConvNeXt by the names of transformers",
    sign="stages.0.downsample_layers.0.weight",
    names=(
        (r"stages\.0\.downsample_layers\.([01])\.(\w+)", r"stem.\1.\2"),
        (r"stages\.([123])\.downsample_layers\.([01])\.(\w+)", r"stages.\1.downsample.\2.\3"),
        (r"stages\.(\d)\.layers\.(\d+)\.gamma", r"stages.\1.blocks.\2.gamma"),
        (r"stages\.(\d)\.layers\.(\d+)\.depthwise_conv\.(\w+)", r"stages.\1.blocks.\2.conv_dw.\3"),
        (r"stages\.(\d)\.layers\.(\d+)\.layer_norm\.(\w+)", r"stages.\1.blocks.\2.norm.\3"),
        (r"stages\.(\d)\.layers\.(\d+)\.pointwise_conv([12])\.(\w+)", r"stages.\1.blocks.\2.mlp.fc\3.\4"),
        (r"layer_norm\.(\w+)", r"head.norm.\1"),
    ),
)
_CONVNEXT_TORCHVISION = Dialect(
    "ConvNeXt by torchvision's names",
    sign="features.0.0.weight",
    names=(
        (r"features\.0\.([01])\.(\w+)", r"stem.\1.\2"),
        *((rf"features\.{2 * stage}\.([01])\.(\w+)", rf"stages.{stage}.downsample.\1.\2") for stage in range(1, 4)),
        *(
            (rf"features\.{2 * stage + 1}\.(\d+)\.block\.{place}\.(\w+)", rf"stages.{stage}.blocks.\1.{unit}.\2")
            for stage in range(4)
            for place, unit in _TORCHVISION_UNITS.items()
        ),
        *(
            (rf"features\.{2 * stage + 1}\.(\d+)\.layer_scale", rf"stages.{stage}.blocks.\1.gamma")
            for stage in range(4)
        ),
        (r"classifier\.0\.(\w+)", r"head.norm.\1"),
        (r"classifier\.2\.(\w+)", r"head.fc.\1"),
    ),
    finish=_flat_gains,
)
_RESNET_TRANSFORMERS = Dialect(
    "ResNet by the names of transformers",
    sign="embedder.embedder.convolution.weight",
    wrappers=("resnet.",),
    names=(
        (r"embedder\.embedder\.convolution\.(\w+)", r"conv1.\1"),
        (r"embedder\.embedder\.normalization\.(\w+)", r"bn1.\1"),
        *(
            (rf"encoder\.stages\.{stage}\.layers\.(\d+)\.{old}\.(\w+)", rf"layer{stage + 1}.\1.{new}.\2")
            for stage in range(4)
            for old, new in (
                (r"shortcut\.convolution", "downsample.0"),
                (r"shortcut\.normalization", "downsample.1"),
                *((rf"layer\.{n}\.convolution", f"conv{n + 1}") for n in range(3)),
                *((rf"layer\.{n}\.normalization", f"bn{n + 1}") for n in range(3)),
            )
        ),
        (r"classifier\.1\.(\w+)", r"fc.\1"),
    ),
)

CONVNEXTS = (_CONVNEXT_AUTHORS, _DINOV3_CONVNEXT, _CONVNEXT_TORCHVISION, _CONVNEXT_TRANSFORMERS)
RESNETS = (_RESNET_TRANSFORMERS,)
