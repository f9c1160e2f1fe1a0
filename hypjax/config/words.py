"""What stands behind the colon: `configs/NAME.py:quick,geometry=sphere,loss.temperature=0.2`.

A data set and an encoder bring settings of their own, a switch changes many at once, and a single setting has the
last word.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ml_collections import ConfigDict

from hypjax.config import recipes
from hypjax.config.encoder_choice import adapt_to_encoder, choose_encoder, whole_patches
from hypjax.config.settings import ACCUMULATED, ENCODER_SIZES, holds_features, learns_points, refuse_accumulation
from hypjax.data.errors import UsageError, as_usage


def _set(path: str) -> Callable[[ConfigDict, str], None]:
    def setter(config: ConfigDict, value: str) -> None:
        *parents, leaf = path.split(".")
        for parent in parents:
            config = config[parent]
        config[leaf] = value

    return setter


def fit_discriminant_directions(config: ConfigDict) -> None:
    """Lets the encoder learn through principal directions that are kept, and fits the kernel to what it learned.

    A head that is trained fits the classes that it sees: on classes never seen it finds less than the features below.
    """
    config.head.update(init="pca", kernel="kept", refit=True)


def keep_principal_directions(config: ConfigDict) -> None:
    """Holds the head's kernel at the principal directions of the pretrained features; the encoder learns through it."""
    config.head.update(init="pca", kernel="kept", refit=False)


def train_head(config: ConfigDict) -> None:
    """Trains the head's kernel, as papers do."""
    config.head.update(kernel="trained", refit=False)


HEADS: dict[str, Callable[[ConfigDict], None]] = {
    "discriminant": fit_discriminant_directions,
    "principal": keep_principal_directions,
    "trained": train_head,
}


def suit_frozen_features(config: ConfigDict) -> None:
    """Fits the head in closed form where a doubt is left to learn, and else trains it, since something must learn."""
    learns_doubt = "learned" in (config.head.radius, config.uncertainty)
    HEADS["discriminant" if learns_doubt and not learns_points(config) else "trained"](config)


def _choose_head(config: ConfigDict, value: str) -> None:
    if value not in HEADS:
        raise UsageError(f"head {value!r} is unknown; there are: {', '.join(HEADS)}")
    HEADS[value](config)


ARGUMENTS: dict[str, Callable[[ConfigDict, str], None]] = {
    "data": _set("data.name"),
    "data_dir": _set("data.dir"),
    "encoder": choose_encoder,
    "init_from": _set("init_from"),
    "weights": _set("encoder.weights"),
    "head": _choose_head,
    "geometry": _set("geometry"),
    "distance": _set("distance"),
    "uncertainty": _set("uncertainty"),
    "loss": _set("loss.name"),
    "miner": _set("miner"),
    "regularizer": _set("regularizer"),
}


def apply_arguments(config: ConfigDict, arguments: str | None) -> ConfigDict:
    """Applies `quick,frozen,KEY=VALUE,...`, the words behind the colon of `--config FILE.py:...`.

    The data set and the encoder bring settings of their own (`adapt_to_...`, `hypjax.config.recipes`); whatever else
    stands behind the colon has the last word, in any order.

    Args:
      config: settings, changed in place.
      arguments: comma-separated words; `quick` shrinks the run to a smoke test of seconds, `frozen` trains the head
        alone on features that are computed once, `dry` trains nothing and says what training takes; other KEYs are
        single settings, such as `loss.temperature`.

    Returns:
      `config`.

    Raises:
      UsageError: a word is unknown, lacks its value or has one of the wrong type.

    Examples:
      >>> from hypjax.config.settings import default_settings
      >>> config = apply_arguments(default_settings(), "quick,geometry=sphere")
      >>> config.geometry, config.steps
      ('sphere', 12)
    """
    words = [word.strip() for word in (arguments or "").split(",") if word.strip()]
    words.sort(key=lambda word: not word.startswith("encoder="))  # whose sizes others change
    for word in words:
        _apply_word(config, word)
    if holds_features(config):
        adapt_to_features(config, words)
    else:
        adapt_to_photographs(config)
        adapt_to_encoder(config)
        if config.encoder.weights:  # a random encoder has no directions worth keeping
            HEADS["principal" if learns_points(config) else "discriminant"](config)
        recipes.apply_recipe(config)
    for name, switch in SWITCHES.items():
        if any(word.partition("=")[0] == name for word in words):
            switch(config)
    for word in words:  # again, over what data set, encoder and switches brought
        _apply_word(config, word)
    return config


def _apply_word(config: ConfigDict, word: str) -> None:
    key, equals, value = word.partition("=")
    if key in SWITCHES and value in ("", "true"):
        return
    if ACCUMULATED in key:
        raise UsageError(refuse_accumulation(key))
    if key not in ARGUMENTS and ("." in key or key in config):
        _override(config, key, value)
        return
    if key not in ARGUMENTS:
        known = ", ".join([*SWITCHES, *(f"{name}=..." for name in ARGUMENTS)])
        raise UsageError(
            f"config argument {word!r} is unknown; there are: {known}, and single settings, loss.temperature=... "
            "(a value that holds a comma is given as --config.KEY=VALUE)"
        )
    if not equals or not value:
        raise UsageError(f"config argument {key!r} needs a value: {key}=...")
    ARGUMENTS[key](config, value)


def _override(config: ConfigDict, key: str, value: str) -> None:
    *parents, leaf = key.split(".")
    node: ConfigDict | None = config
    for parent in parents:
        node = node.get(parent) if isinstance(node, ConfigDict) else None
    of_encoder = node is config.encoder.sizes
    if of_encoder:
        from hypjax import encoders

        with as_usage():
            old = encoders.setting(config.encoder.name, leaf)
        old = "" if old is None else old  # of a size that there is none of, whose encoder lists those that there are
    else:
        old = node.get(leaf) if isinstance(node, ConfigDict) else None
    if isinstance(old, tuple):
        whole = ENCODER_SIZES if of_encoder else f"--config.{key}=\"('…', '…')\""
        raise UsageError(f"config argument {key!r} has several values: give it as {whole}")
    if node is None or not isinstance(old, bool | int | float | str):
        beside = f"; there are {', '.join(node)}" if isinstance(node, ConfigDict) and old is None else ""
        raise UsageError(f"config argument {key!r} is no single setting{beside}; hypjax/config/settings.py lists all")
    try:
        node[leaf] = {"true": True, "false": False}[value] if isinstance(old, bool) else type(old)(value)
    except (KeyError, ValueError):
        raise UsageError(f"config argument {key}={value}: this is no {type(old).__name__}") from None


def adapt_to_photographs(config: ConfigDict) -> None:
    """Takes what suits pictures of things where the data are not the packaged drawings: more pixels, flips, no tint.

    Batches need no care, as they shrink to the classes that there are. The size is a compromise with a few cores. A
    folder of a hundred pictures gets fewer steps, as the default number would go through them hundreds of times.
    """
    if config.data.name == "emoji":
        return
    config.data.update(image_size=128, eval_image_size=160)
    config.augment.update(flip=True, tint=0.0)
    config.most_epochs = 60.0


def adapt_to_features(config: ConfigDict, words: Sequence[str]) -> None:
    """Leaves out what takes images: encoder and weights, degradations and what is measured of them.

    Some ten thousand queries are enough to tell figures apart, and keep a search of a million rows within minutes.

    Args:
      config: settings, changed in place.
      words: those behind the colon.

    Raises:
      UsageError: one of them asks for an encoder.
    """
    for word in words:
        key = word.partition("=")[0]
        if key in ("encoder", "weights", "frozen") or key.startswith("encoder."):
            raise UsageError(
                f"config argument {word!r} makes no sense with data=features: there are no images to encode; "
                "python -m hypjax.embed --features makes features of images by any encoder"
            )
    suit_frozen_features(config)
    config.encoder.update(name="none", weights="", frozen=())
    config.augment.degrade_share = 0.0
    config.evaluation.update(batch=1024, queries=10_000, degraded_queries=0, degraded_test_queries=0)
    config.most_epochs = 60.0


def shrink(config: ConfigDict) -> None:
    """Makes a run of seconds that still evaluates twice, saves twice and draws every picture."""
    config.steps = 12
    size = 32 if holds_features(config) else whole_patches(config, 32)
    config.data.update(image_size=size, eval_image_size=size, eval_resize=0)
    config.batch.classes, config.batch.most_classes = min(8, config.batch.classes), 8
    config.batch.samples_per_class = min(4, config.batch.samples_per_class)
    config.evaluation.update(every=6, batch=128)
    if not holds_features(config):
        config.evaluation.update(degraded_queries=32, degraded_test_queries=32)
    config.checkpoint.every = 6
    config.log.every = 1
    config.hier.update(proxies=32, triplets=10)
    config.features.views = min(2, config.features.views)


def rehearse(config: ConfigDict) -> None:
    """Trains nothing: `hypjax.run.rehearsal` builds and compiles everything and says what it takes."""
    config.dry.run = True


def freeze(config: ConfigDict) -> None:
    """Trains the head alone, on features that are computed once and kept on disk."""
    suit_frozen_features(config)
    config.features.cached = True
    config.encoder.frozen = ("encoder/",)


SWITCHES: dict[str, Callable[[ConfigDict], None]] = {"quick": shrink, "frozen": freeze, "dry": rehearse}
