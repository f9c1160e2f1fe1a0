"""What a source can be trained on: images that decode, and classes of at least two of them."""

import concurrent.futures
import logging
from collections.abc import Callable

import numpy as np
from jaxtyping import Int64

from hypjax.data.errors import DataError
from hypjax.data.source import Source, subset


def decodable(source: Source) -> Int64[np.ndarray, "m"]:
    """Find the images that decode; every image is decoded once, in threads.

    Those that do not are counted in one warning that names the first.

    Args:
      source: any source; one with a method `check(index)`, which raises as `image` does, saves pixels and time.

    Returns:
      The indices of the images that do.

    Raises:
      DataError: none does.
    """
    check = getattr(source, "check", source.image)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        complaints = list(pool.map(lambda index: _complaint(check, index), range(len(source))))
    sound = np.array([index for index, complaint in enumerate(complaints) if not complaint], np.int64)
    first = next(filter(None, complaints), "")
    if not len(sound):
        raise DataError(f"none of the {len(source)} images decodes; the first: {first}")
    if first:
        skipped = len(source) - len(sound)
        kind = "image" if skipped == 1 else "images"
        logging.getLogger(__name__).warning("skipped %d undecodable %s, the first: %s", skipped, kind, first)
    return sound


def _complaint(check: Callable[[int], object], index: int) -> str:
    try:
        check(index)
    except DataError as error:
        return str(error).partition("; --config")[0]
    return ""


def with_pairs(source: Source) -> Source:
    """Leave out classes with a single image, which has nothing to be found by or pulled to.

    What is left out is counted in one warning that names the first classes.

    Args:
      source: any source.

    Raises:
      DataError: there are no images, or no class has two.
    """
    if len(source) == 0:
        raise DataError("the data set has no images")
    lonely = np.bincount(source.labels, minlength=len(source.class_names)) < 2
    if not lonely.any():
        return source
    shown = ", ".join(repr(source.class_names[c]) for c in np.flatnonzero(lonely)[:3]) + ", …" * bool(lonely.sum() > 3)
    if lonely.all():
        raise DataError(
            f"no class has 2 images or more ({shown}): retrieval needs at least 2 a class to find one another"
        )
    kind = "class" if lonely.sum() == 1 else "classes"
    logging.getLogger(__name__).warning("left out %d %s with a single image (%s)", lonely.sum(), kind, shown)
    return subset(source, np.flatnonzero(~lonely[source.labels]))
