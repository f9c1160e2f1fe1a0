"""Hyp-UML: hyperbolic embeddings with an uncertainty each, trained by the uncertainty-aware contrastive loss."""

from hypjax.settings import apply_arguments, default_settings


def get_config(arguments: str = ""):
    """The settings of this experiment; `arguments` are the words behind the colon."""
    config = default_settings()
    config.name = "hyp_uml"
    return apply_arguments(config, arguments)
