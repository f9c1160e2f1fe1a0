"""Hyp-ViT: the pairwise cross-entropy in the Poincaré ball, the common ancestor of the other methods."""

from hypjax.settings import apply_arguments, default_settings


def get_config(arguments: str = ""):
    """The settings of this experiment; `arguments` are the words behind the colon."""
    config = default_settings()
    config.name = "hyp_vit"
    config.loss.name = "pairwise_cross_entropy"
    return apply_arguments(config, arguments)
