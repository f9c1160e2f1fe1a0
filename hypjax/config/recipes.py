"""The papers' settings on the benchmarks, which `data=cub`, `cars`, `sop` or `in_shop` behind a config's colon picks.

Hyp-ViT's and HIER's numbers are those of their authors' public code. [ours] marks what is not: all of Hyp-UML's, of
which only the abstract is known, and what the authors never ran. None of it was trained here. What differs still:

- Validation classes are carved out of the training classes, so that a batch of all classes has fewer;
  `data.validation=0` trains on all of them.
- Both apply weight decay to every parameter, here to kernels alone. Both train in half precision; here
  `--config.encoder.dtype=bfloat16` does.
- HIER's AdamW has an epsilon of 1e-4, holds the encoder during the epochs of warm-up and limits each value of a
  gradient to 10. Its layer normalization before the head has no scale and shift; its ResNet-50 adds the maximum to the
  average of the last stage.
- HIER's head and proxies get gradients scaled by (1 − c‖x‖²)²/4, and its proxies are clipped tangent vectors under
  AdamW: so they are here (`head.gradient=riemannian`, `hier.proxies_as=tangent`). Everywhere else the head gets its own
  gradient, and proxies are points that Riemannian Adam moves [ours].

Source: Ermolov et al., CVPR 2022, github.com/htdt/hyp_metric; Kim et al., CVPR 2023, github.com/tjddus9597/HIER-CVPR23.
"""

from __future__ import annotations

from typing import NamedTuple

from ml_collections import ConfigDict

KS = {"cub": (1, 2, 4, 8), "cars": (1, 2, 4, 8), "sop": (1, 10, 100, 1000), "in_shop": (1, 10, 20, 30)}
# As TFDS calls them; copies are trained on alike.
TFDS = {"caltech_birds2011": "cub", "cars196": "cars", "stanford_online_products": "sop", "in_shop": "in_shop"}

TRANSFORMERS = ("vit_s16", "deit_s16", "deit_s16_distilled", "dino_vits16", "dino_s16")
ENCODERS = (*TRANSFORMERS, "resnet50")  # for which there is an optimizer below; others keep the default one


class _Batches(NamedTuple):
    """Classes of a batch at most, images of each, steps, and the shorter side before the central 224 are scored."""

    classes: int
    samples: int
    steps: int
    resize: int


# CUB: 50 passes through all classes at once, Cars 300; SOP 200 passes of 25 batches, In-Shop 400 of 8.
_HYP_VIT = {
    "cub": _Batches(100, 9, 50, 256),
    "cars": _Batches(98, 9, 300, 224),
    "sop": _Batches(450, 2, 200 * 25, 224),
    "in_shop": _Batches(450, 2, 400 * 8, 224),
}
# Epochs times whole batches of 180 among the training images.
_HIER = {
    "cub": _Batches(90, 2, 100 * 32, 256),
    "cars": _Batches(90, 2, 100 * 44, 256),
    "sop": _Batches(90, 2, 150 * 330, 256),
    "in_shop": _Batches(90, 2, 150 * 143, 256),
}
_HIER_WARMUP = {"cub": 1 / 100, "cars": 1 / 100, "sop": 5 / 150, "in_shop": 5 / 150}
# Of its ResNet-50: learning rate, and after which share of the steps it falls to which part, again and again.
_HIER_RESNET = {
    "cub": (1e-4, 5 / 100, 0.5),
    "cars": (1e-4, 10 / 100, 0.5),
    "sop": (6e-4, 25 / 150, 0.3),
    "in_shop": (6e-4, 20 / 150, 0.3),
}


def benchmark(name: str) -> str:
    """The benchmark that a data set is, or "".

    Example:
      >>> benchmark("cub"), benchmark("tfds:cars196:2.1.0"), benchmark("folder")
      ('cub', 'cars', '')
    """
    if name.startswith("tfds:"):
        return TFDS.get(name.removeprefix("tfds:").partition(":")[0].partition("/")[0], "")
    return name if name in KS else ""


def apply_recipe(config: ConfigDict) -> None:
    """Takes the settings of a config's method on its benchmark, for its encoder; leaves other data sets alone.

    Args:
      config: settings, changed in place; `name` tells the method. One without a recipe of its own keeps its loss and
        its batch and takes HIER's optimizer and steps [ours].
    """
    data = benchmark(config.data.name)
    if not data:
        return
    photographs(config, data)
    config.head.update(kernel="trained", refit=False)
    config.most_epochs = 0.0  # as many as published
    {"hyp_vit": hyp_vit, "hyp_uml": hyp_uml, "hier": hier}.get(config.name, another)(config, data)
    # Ten looks at the validation classes, but not one at every other step of a short run.
    config.evaluation.every = config.checkpoint.every = max(25, config.steps // 10)


def photographs(config: ConfigDict, data: str) -> None:
    """What all methods share: image size, crop and flip, frozen parts, figures."""
    config.data.update(image_size=224, eval_image_size=224)
    config.augment.update(scale=(0.2, 1.0), flip=True, rotation=0.0, jitter=0.0, tint=0.0)
    if config.encoder.name in TRANSFORMERS:
        config.encoder.frozen = ("encoder/patch_embed/",)
    config.evaluation.ks = KS[data]


def hyp_vit(config: ConfigDict, data: str) -> None:
    """Hyp-ViT's; its ResNet-50 is [ours]."""
    _take(config, _HYP_VIT[data])
    _hyp_vit_optimizer(config)
    config.loss.temperature = 0.1 if config.geometry == "sphere" else 0.2
    _published_head(config, dim=128, normalize="none")


def hyp_uml(config: ConfigDict, data: str) -> None:
    """Hyp-UML's: batches and learning rates of Hyp-ViT under its own loss and head [ours]."""
    _take(config, _HYP_VIT[data])
    _hyp_vit_optimizer(config)
    config.loss.temperature = 0.1 if config.geometry == "sphere" else 0.2
    config.head.dim = 128


def hier(config: ConfigDict, data: str) -> None:
    """HIER's, over Proxy-Anchor."""
    _take(config, _HIER[data])
    _hier_optimizer(config, data)
    config.loss.name = "proxy_anchor"
    config.loss.proxy_anchor.update(margin=0.1, alpha=32.0)
    config.hier.update(
        weight=0.5, proxies=512, proxies_as="tangent", margin=0.1, neighbors=20, triplets=50, temperature=0.1
    )
    config.head.gradient = "riemannian"
    resnet = config.encoder.name == "resnet50"
    if resnet:
        config.augment.scale = (0.08, 1.0)
    _published_head(config, dim=512 if resnet else 128, normalize="layer")


def another(config: ConfigDict, data: str) -> None:
    """HIER's optimizer and steps for a method that nobody ran there, under its own loss and batch [ours]."""
    config.steps, config.data.eval_resize = _HIER[data].steps, _HIER[data].resize
    _hier_optimizer(config, data)


def _take(config: ConfigDict, batches: _Batches) -> None:
    config.steps = batches.steps
    config.data.eval_resize = batches.resize
    # Not `classes`, which would have to be lowered by hand where validation leaves fewer.
    config.batch.update(classes=0, most_classes=batches.classes, samples_per_class=batches.samples)


def _published_head(config: ConfigDict, *, dim: int, normalize: str) -> None:
    # The authors' heads begin unscaled, with nearly every point at the clip: so does a start radius just within it.
    config.head.update(
        dim=dim, normalize=normalize, init="orthogonal", dropout=0.0, clip="hard", clip_radius=2.3, start_radius=2.25
    )
    config.curvature = 0.1
    config.optimizer.ema = 0.0


def _hyp_vit_optimizer(config: ConfigDict) -> None:
    if config.encoder.name not in ENCODERS:
        return
    rates = {"dino_vits16": 1e-5, "dino_s16": 1e-5, "resnet50": 1e-4}  # the last [ours], HIER's
    config.optimizer.update(
        learning_rate=rates.get(config.encoder.name, 3e-5),
        head_multiplier=1.0,
        warmup=0.0,
        schedule="constant",
        weight_decay=0.01,
        clip_norm=3.0,
    )


def _hier_optimizer(config: ConfigDict, data: str) -> None:
    if config.encoder.name not in ENCODERS:
        return
    small = data in ("cub", "cars")
    resnet = config.encoder.name == "resnet50"
    rate, every, factor = (1e-5, 0.0, 1.0) if not resnet else _HIER_RESNET[data]
    config.optimizer.update(
        learning_rate=5e-6 if config.encoder.name in ("dino_vits16", "dino_s16") else rate,
        decay_every=every,
        decay_factor=factor,
        head_multiplier=1.0 if small or resnet else 100.0,
        proxy_multiplier=1e4,
        hier_multiplier=50.0,
        warmup=_HIER_WARMUP[data],
        schedule="constant",
        weight_decay=1e-2 if small else 1e-4,
        clip_norm=0.0,
    )
