"""What is kept beside a file of embeddings, `photos.ivf_pq`, so that an approximate index need not be made anew."""

from __future__ import annotations

import zipfile
from pathlib import Path

from hypjax import geometry
from hypjax.data import atomic
from hypjax.data.errors import UsageError, as_usage
from hypjax.retrieval import ApproximateIndex
from hypjax.retrieval.approximate import ASKING, K
from hypjax.stores.embeddings import Embeddings


def digest_of_index(index: Path) -> str:
    """Of the points and the paths of a file of embeddings, from the checksums that it holds."""
    with zipfile.ZipFile(index) as held:
        return " ".join(f"{held.getinfo(f'{name}.npy').CRC:08x}" for name in ("points", "paths"))


def place(index: Path, kind: str) -> Path:
    """Where the approximate index of a file is kept."""
    return index.with_name(f"{index.stem}.{kind}")


def approximate(path: Path, held: Embeddings, kind: str) -> ApproximateIndex:
    """The approximate index of a file of embeddings: the one kept beside it, or a new one.

    Args:
      path: of the file; where its folder takes no more, the index is made each time.
      held: what it holds.
      kind: see `ApproximateIndex`.

    Raises:
      UsageError: a hybrid distance, a sum of several, too few images, an unknown kind, or FAISS is not installed.
    """
    if (distance := held.about["distance"]) == "hybrid":
        raise UsageError("an approximate index goes by a geometry, and this is a hybrid distance")
    manifold, of = geometry.named(held.about["geometry"], held.about["curvature"]), digest_of_index(path)
    if isinstance(manifold, geometry.Product):
        raise UsageError(
            f"an approximate index goes by inner products, and {held.about['geometry']} by a sum of distances"
        )
    kept = place(path, kind)
    with as_usage():
        try:
            with kept.open("rb") as file:
                return ApproximateIndex.load(file, held.points, manifold, distance=distance, of=of)
        except (OSError, ValueError):  # not there, of other points, or damaged
            index = ApproximateIndex(held.points, manifold, kind=kind, distance=distance)
    try:
        with atomic.writing(kept) as file:
            index.save(file, of=of)
    except OSError as error:
        print(f"{kept} cannot be kept ({error.strerror}) and is made anew next time")
    return index


def told(index: ApproximateIndex) -> str:
    """What an approximate index is worth, in words."""
    return f"approximate search ({index.kind}): of {K} nearest {index.recall:.1%} are found, as {ASKING} images asked"
