"""EPS: easy positive sampling. Each image is pulled to its nearest classmate in the batch alone, in any margin loss.

Paper: Levi et al., "Rethinking preventing class-collapsing in metric learning with margin-based losses", ICCV 2021;
built from its abstract and third-party code. Pulling all of a class together collapses its sub-clusters to a point; the
easy positive leaves them apart. With two images of a class in a batch it changes nothing, so that there are four here.

Command:   python -m hypjax.train --config configs/eps.py
Override:  python -m hypjax.train --config configs/eps.py:geometry=sphere,loss=triplet --workdir runs/eps_sphere
Smoke run: python -m hypjax.train --config configs/eps.py:quick
Measured:  Recall@1 0.648 ± 0.018 on frozen features (`:frozen`), validation classes, 3 seeds, untuned;
           `configs/hyp_vit.py` 0.664 ± 0.008. Fine-tuned: small pictures, seed 0 (evidence, section 7).
To see it: train on coarse labels and retrieve by fine ones, configs/eps.py:frozen --config.data.train_level=subgroup
"""

from ml_collections import ConfigDict

from hypjax.config.settings import default_settings
from hypjax.config.words import apply_arguments


def get_config(arguments: str = "") -> ConfigDict:
    """The settings of this experiment; `arguments` are the words behind the colon."""
    config = default_settings()
    config.name = "eps"
    config.loss.name = "margin"
    config.loss.learn_beta = True
    config.miner = "easy_positive+semihard_negative"
    config.batch.classes = 36
    config.batch.samples_per_class = 4
    return apply_arguments(config, arguments)
