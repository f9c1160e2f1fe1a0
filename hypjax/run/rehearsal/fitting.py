"""A batch that is too large for the memory of a chip, and the nearest that fits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

from jax.sharding import Mesh
from ml_collections import ConfigDict

from hypjax.run.rehearsal.measuring import TooLarge, gib, measure
from hypjax.training.sharding import shared

_TRIES = 4
_SHARE = 0.97  # of what is left beside the state: layouts do not grow quite in step with the batch


def smaller(config: ConfigDict, mesh: Mesh, refused: TooLarge) -> str:
    """What to do about a batch that is too large: the nearest one that was compiled and fits.

    Args:
      config: the settings.
      mesh: the devices to compile for.
      refused: their batch.
    """
    samples = config.batch.samples_per_class
    choices = shared(samples, mesh.size, refused.images // samples)

    def needed(classes: int) -> float:
        tried = copy.deepcopy(config)
        tried.batch.classes = classes
        try:
            return measure(tried, mesh).memory.total
        except TooLarge as error:
            return error.needed

    first = (refused.images // samples, refused.needed)
    found = largest(choices, needed, available=refused.available, held=refused.held, refused=first)
    if found is None:
        return "take more chips, or images of fewer pixels"
    classes, size = found
    return f"--config.batch.classes={classes} makes it {classes * samples:,} images, which take {gib(size)}"


def largest(
    choices: Sequence[int],
    needed: Callable[[int], float],
    *,
    available: float,
    held: float,
    refused: tuple[int, float],
) -> tuple[int, float] | None:
    """The largest of some sizes that fits, as far as a few tries tell.

    What a step needs grows about evenly with its batch: a line through what is held anyway and the size that was
    refused last says what to try next.

    Args:
      choices: sizes to choose from.
      needed: a size to the bytes that it takes, compiled.
      available: bytes that there are.
      held: bytes that are taken whatever the size.
      refused: a size that is too large, and its bytes.

    Returns:
      A size that was tried and fits, and its bytes; None where none was found.

    Examples:
      >>> largest(range(1, 100), lambda n: 5 + 2 * n + n**2 / 100, available=50, held=5, refused=(80, 229))
      (15, 37.25)
    """
    above, much = refused
    for _ in range(_TRIES):
        goal = _SHARE * (available - held) * above / (much - held)
        size = max((n for n in choices if n <= goal and n < above), default=0)
        if not size:
            return None
        found = needed(size)
        if found <= available:
            return size, found
        above, much = size, found
    return None
