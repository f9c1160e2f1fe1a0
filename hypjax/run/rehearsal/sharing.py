"""Batches that devices can share evenly."""

from __future__ import annotations

from hypjax.data.errors import UsageError


def shared(samples: int, devices: int, limit: int) -> list[int]:
    """Numbers of classes, at most `limit`, whose images so many devices share evenly.

    Examples:
      >>> shared(9, 8, 20)
      [8, 16]
    """
    return [n for n in range(1, limit + 1) if n * samples % devices == 0]


def require_shares(classes: int, samples: int, devices: int, *, limit: int) -> None:
    """Checks that a batch can be shared out evenly.

    Args:
      classes: of the batch.
      samples: images of each.
      devices: how many.
      limit: classes that there are.

    Raises:
      UsageError: it can't; names the nearest number of classes that would do.
    """
    if classes * samples % devices == 0:
        return
    nearest = min(shared(samples, devices, limit), key=lambda n: abs(n - classes), default=None)
    hint = "take fewer devices" if nearest is None else f"--config.batch.classes={nearest} makes it {nearest * samples}"
    raise UsageError(
        f"a batch of {classes * samples} images ({classes} classes of {samples}) cannot be shared out over {devices} "
        f"devices; {hint}"
    )
