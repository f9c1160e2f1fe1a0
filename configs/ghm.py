"""GHM: a hybrid distance that trades geometric against probabilistic proximity.

Paper: GHM, generalized hybrid metric; built from its abstract alone, so all formulas here are ours and none of its
figures is quoted. Not the Gradient Harmonizing Mechanism, which shares the abbreviation. The distance of two images is
(α d_geo^p + (1 − α) d_prob^p)^(1/p), d_geo the geodesic and d_prob a divergence of the softmax of their coordinates;
`hybrid.alpha=1` is the geodesic alone.

Command:   python -m hypjax.train --config configs/ghm.py
Override:  python -m hypjax.train --config configs/ghm.py:geometry=euclidean --config.hybrid.alpha=0.5
Smoke run: python -m hypjax.train --config configs/ghm.py:quick
Measured:  Recall@1 0.666 ± 0.010 on frozen features (`:frozen`), validation classes, 3 seeds, untuned;
           `configs/hyp_vit.py` 0.664 ± 0.008. Fine-tuned: small pictures, seed 0 (evidence, section 7).
"""

from ml_collections import ConfigDict

from hypjax.config.settings import default_settings
from hypjax.config.words import apply_arguments


def get_config(arguments: str = "") -> ConfigDict:
    """The settings of this experiment; `arguments` are the words behind the colon."""
    config = default_settings()
    config.name = "ghm"
    config.loss.name = "pairwise_cross_entropy"
    config.distance = "hybrid"
    return apply_arguments(config, arguments)
