"""A known tree as teacher: a proxy for every class and ancestor, images and nodes in the cones of what they are.

Papers: Ganea, Bécigneul, Hofmann, "Hyperbolic Entailment Cones for Learning Hierarchical Embeddings", ICML 2018, and
Desai et al., "Hyperbolic Image-Text Representations" (MERU), ICML 2023, for the cones; the softmax over nodes by their
distance is ours. Over Hyp-ViT's loss. Data without a tree are refused (docs/methods.md, "A tree as teacher").

Command:   python -m hypjax.train --config configs/tree.py
Override:  python -m hypjax.train --config configs/tree.py:regularizer=nodes --workdir runs/nodes
Smoke run: python -m hypjax.train --config configs/tree.py:quick
Measured:  too little to say. One seed, validation classes, frozen features of clean views alone
           (`:frozen,regularizer=nodes`, `features.views=1`), in percent, without nodes in brackets: Recall@1 69.6
           (71.8); of the five nearest 45.2 of the class (45.3), 62.1 of the subgroup (60.6), 77.9 of the group (75.7).
           Neither cones nor fine-tuning were measured, nor the time on an idle machine
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
