"""Hyp-UML: hyperbolic embeddings with an uncertainty each, trained by the uncertainty-aware contrastive loss.

Paper: Hyp-UML, "Hyperbolic Image Retrieval with Uncertainty-aware Metric Learning"; built from its abstract alone, so
all formulas here are ours and none of its figures is quoted.

An EfficientNet-Lite0 with ImageNet weights is fine-tuned on the packaged emoji: its last eleven blocks, without their
depthwise kernels, whose gradients cost the most. A direction comes from a linear map of the features, which is fitted
in closed form when they are learned (`head=discriminant`), the radius from a doubt that is taught to foretell
failures (`hypjax.losses.failure_cross_entropy`), so that images whose neighbors are not to be trusted lie near the
origin. The radius takes no gradient from the contrastive loss, to which u is a given temperature for each anchor;
`--config.head.radius=norm` leaves radius and u to that loss alone. With `data=cub`, `cars`, `sop` or `in_shop` it
takes Hyp-ViT's batches, steps and learning rates (`hypjax/config/recipes.py`), our choice too.

Command:   python -m hypjax.train --config configs/hyp_uml.py
Override:  python -m hypjax.train --config configs/hyp_uml.py:geometry=sphere --config.seed=1 --workdir runs/sphere
Smoke run: python -m hypjax.train --config configs/hyp_uml.py:quick
Benchmark: python -m hypjax.train --config configs/hyp_uml.py:data=cub,data_dir=DIR,encoder=dino_vits16,weights=FILE
Measured:  test Recall@1 0.640 ± 0.005 (the encoder's bare features 0.602), AUROC of u 0.616 ± 0.017, rank correlation
           of u with blur, noise and occlusion 0.48, 0.39 and 0.37; five seeds (Python 3.11, jax 0.9.2). With
           `head=trained` 0.551, 0.605 and 0.52, 0.46, 0.54, five to six minutes each on two CPU cores
Published: no figure is quoted, and on the benchmarks none was measured here
"""

from ml_collections import ConfigDict

from hypjax.config.settings import default_settings
from hypjax.config.words import apply_arguments


def get_config(arguments: str = "") -> ConfigDict:
    """The settings of this experiment; `arguments` are the words behind the colon."""
    config = default_settings()
    config.name = "hyp_uml"
    config.loss.name = "uncertainty_contrastive"
    config.loss.strength = 2.0
    config.head.radius = "learned"
    config.augment.degrade_share = 0.3
    return apply_arguments(config, arguments)
