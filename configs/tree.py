"""A known tree as teacher: a proxy for every class and ancestor, images and nodes in the cones of what they are.

Papers: Ganea, Bécigneul, Hofmann, "Hyperbolic Entailment Cones for Learning Hierarchical Embeddings", ICML 2018, and
Desai et al., "Hyperbolic Image-Text Representations" (MERU), ICML 2023, for the cones; the softmax over nodes by their
distance is ours. Over Hyp-ViT's loss. Data without a tree are refused (docs/methods.md, "A tree as teacher").

Command:   python -m hypjax.train --config configs/tree.py
Override:  python -m hypjax.train --config configs/tree.py:regularizer=nodes --workdir runs/nodes
Smoke run: python -m hypjax.train --config configs/tree.py:quick
Measured:  frozen, 32 dimensions, two seeds, validation classes (evidence/README.md, section 8): Recall@1 58.6, 64.5
           without a tree; right triplets of a linkage tree over classes never seen 87, 77 without. Losses over all
           levels teach as much of the tree for less recall: `hyp_vit:tree.decay=0.5` 63.0 and 87, `tree.decay=0.15`
           64.5 and 88. Fine-tuning was not measured, nor the time on an idle machine
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
