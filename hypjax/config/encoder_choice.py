"""What choosing an encoder brings with it: its name here, sizes, weights, and images of the size that it takes."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

from hypjax.data.errors import as_usage

DEFAULT = "efficientnet_lite0"


def choose_encoder(config: ConfigDict, name: str) -> None:
    """Takes an encoder by any of its names; `hf:OWNER/NAME` by the configuration of that repository, with its weights.

    Raises:
      UsageError: a repository that can't be read, or is of an encoder that there is none of.
    """
    if name == DEFAULT:
        config.encoder.name = name
        return
    from hypjax import encoders

    with as_usage():
        if not name.startswith(encoders.HUB):
            config.encoder.name = encoders.canonical(name)
            sizes, side = encoders.settings_in_name(name)
            config.encoder.sizes.update(sizes)
            if side:  # timm cuts nothing off images of another size than the usual one
                config.encoder.preprocessing.update(size=side, resize=side)
            return
        chosen = encoders.choose(name)
    config.encoder.name = chosen.name
    config.encoder.sizes = ConfigDict(chosen.sizes, allow_dotted_keys=False)
    expected = encoders.preprocessing(chosen.name)
    told = {
        field: value for field, value in chosen.preprocessing._asdict().items() if value != getattr(expected, field)
    }
    config.encoder.preprocessing.update(told)
    if config.encoder.weights == "packaged":
        config.encoder.weights = chosen.weights


def adapt_to_encoder(config: ConfigDict) -> None:
    """Trains the whole of any other encoder than the default one, and asks for no weights that no package carries.

    Weights of one's own bring the view of an image that they were made for, where the pictures are photographs;
    those are shrunk no further as they are read. Learned positions are those of one size, so that their transformer is
    trained at the size that it is evaluated at.

    Raises:
      UsageError: an unknown encoder.
    """
    if config.encoder.name == DEFAULT:
        return
    config.encoder.frozen = ()
    if config.encoder.weights == "packaged":
        config.encoder.weights = ""
    size = whole_patches(config, config.data.eval_image_size)
    config.data.eval_image_size = size
    config.data.image_size = size if _of_one_size(config) else whole_patches(config, config.data.image_size)
    if not config.encoder.weights:
        config.head.init = "orthogonal"
    elif config.data.name != "emoji":
        from hypjax.config.models import expected

        with as_usage():
            view = expected(config)
        config.data.update(image_size=view.size, eval_image_size=view.size, eval_resize=view.resize)
        config.data.update(eval_fit=view.fit, interpolation=view.interpolation)
        if config.data.shorter_side:
            config.data.shorter_side = max(config.data.shorter_side, view.resize)


def whole_patches(config: ConfigDict, size: int) -> int:
    """The side of an image nearest to a size that the encoder's patches tile, pixels."""
    patch = None if config.encoder.name == DEFAULT else _setting(config, "patch")
    if patch is None:
        return size
    return max(round(size / patch), 1) * patch


def _of_one_size(config: ConfigDict) -> bool:
    return _setting(config, "positions") == "learned"


def _setting(config: ConfigDict, name: str) -> Any:
    """A setting of the encoder, None where it has none or is not known."""
    from hypjax import encoders

    try:
        default = encoders.setting(config.encoder.name, name)
    except ValueError:  # an unknown encoder, which is told of where it is made
        return None
    return config.encoder.sizes.get(name, default)
