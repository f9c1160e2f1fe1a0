"""A known tree as teacher: a proxy for every class and ancestor, images and nodes in the cones of what they are.

Papers: Ganea, Bécigneul, Hofmann, "Hyperbolic Entailment Cones for Learning Hierarchical Embeddings", ICML 2018, and
Desai et al., "Hyperbolic Image-Text Representations", ICML 2023, for the cones.

Command:   python -m hypjax.train --config configs/tree.py
Override:  python -m hypjax.train --config configs/tree.py:regularizer=nodes --workdir runs/nodes
Smoke run: python -m hypjax.train --config configs/tree.py:quick
Measured:  TODO
"""

from ml_collections import ConfigDict

from hypjax.config.settings import default_settings
from hypjax.config.words import apply_arguments


def get_config(arguments: str = "") -> ConfigDict:
    """The settings of this experiment; `arguments` are the words behind the colon."""
    config = default_settings()
    config.name = "tree"
    config.loss.name = "pairwise_cross_entropy"
    config.regularizer = "nodes+cones"
    return apply_arguments(config, arguments)
