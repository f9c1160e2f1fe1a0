"""HIER: learnable hierarchical proxies in hyperbolic space that find the latent hierarchy and regularize any loss.

Paper: Kim et al., "HIER: Metric Learning Beyond Class Labels via Hierarchical Regularization", CVPR 2023. Regularizer,
weight, margin, neighbors and triplets are the paper's; the number of proxies suits the smaller data, and the packaged
emoji and the EfficientNet-Lite0 that is fine-tuned on them are not the paper's, so none of its figures is to be
expected. The proxies move by Riemannian Adam. With `data=cub`, `cars`, `sop` or `in_shop` all settings are those of the
authors' code, over Proxy-Anchor (`hypjax/config/recipes.py`, which says what differs still).

Command:   python -m hypjax.train --config configs/hier.py
Override:  python -m hypjax.train --config configs/hier.py:loss=proxy_anchor --workdir runs/hier_proxy_anchor
Smoke run: python -m hypjax.train --config configs/hier.py:quick
Benchmark: python -m hypjax.train --config configs/hier.py:data=cub,data_dir=DIR,encoder=dino_vits16,weights=FILE
Measured:  Recall@1 0.664 ± 0.006 on frozen features (`:frozen`), validation classes, 3 seeds, untuned;
           `configs/hyp_vit.py` 0.664 ± 0.008. Fine-tuning has not been measured.
Published: Recall@1 in percent; NOT reproduced here. Transformers with 384 dimensions (`head.dim=384`; the authors'
           scripts and this recipe have 128), ResNet-50 with 512

           |           | CUB  | Cars | SOP  | In-Shop |
           | ViT-S     | 85.7 | 88.3 | 86.1 | 92.8    | encoder=vit_s16
           | DeiT-S    | 78.7 | 88.9 | 83.0 | 90.6    | encoder=deit_s16_distilled
           | DINO      | 81.1 | 91.3 | 85.7 | 92.5    | encoder=dino_vits16
           | ResNet-50 | 70.1 | 88.2 | 80.2 | 92.4    | encoder=resnet50
"""

from ml_collections import ConfigDict

from hypjax.config.settings import default_settings
from hypjax.config.words import apply_arguments


def get_config(arguments: str = "") -> ConfigDict:
    """The settings of this experiment; `arguments` are the words behind the colon."""
    config = default_settings()
    config.name = "hier"
    config.loss.name = "pairwise_cross_entropy"
    config.regularizer = "hier"
    return apply_arguments(config, arguments)
