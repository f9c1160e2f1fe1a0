"""The disk in a notebook."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from hypjax.data import atomic
from hypjax.data.decode import decode
from hypjax.data.errors import DataError, UsageError
from hypjax.data.places import as_path
from hypjax.geometry import Product
from hypjax.geometry import named as geometry_named
from hypjax.retrieval import Index, knn
from hypjax.show.explore.page import page, thumbnails
from hypjax.show.explore.world import evenly
from hypjax.show.explore.world import world as lay_out

KEPT = "disk.json"  # in the workdir of a run
NEIGHBORS = 6


class Explorer:
    """A disk to walk in: what a notebook shows where a cell ends with it.

    Attributes:
      world: what it shows.
      height: of its frame in a notebook, in pixels.
    """

    def __init__(self, world: Mapping[str, Any], height: int) -> None:
        self.world, self.height = world, height

    def _repr_html_(self) -> str:
        whole = html.escape(page(self.world), quote=True)
        style = f"width:100%;height:{self.height}px;border:0"
        return f'<iframe title="Poincaré disk" sandbox="allow-scripts" style="{style}" srcdoc="{whole}"></iframe>'

    def save(self, path: str | PathLike[str]) -> None:
        """Writes the page, which needs nothing but itself."""
        atomic.write_text(as_path(path), page(self.world))


def explore(
    shown: Any,
    *,
    paths: Sequence[str] | None = None,
    uncertainty: Any = None,
    geometry: str = "poincare",
    curvature: float | None = 1.0,
    levels: Sequence[tuple[str, Sequence[Any]]] | None = None,
    image: Callable[[int], np.ndarray | None] | None = None,
    height: int = 900,
) -> Explorer:
    """Opens the Poincaré disk.

    Args:
      shown: the workdir of a run that has ended, or an object with one; a file of embeddings, or what was read from
        one; or points of a geometry [n, .], to which all of the following belong.
      paths: n names.
      uncertainty: in [0, 1] [n]; without it all are as certain.
      geometry: of the points: `poincare`, `lorentz`, `euclidean` or `sphere`; or several, see `geometry.named`.
      curvature: c > 0 of the first two.
      levels: as in `world`.
      image: gives the pixels uint8 [h, w, 3] of a point; by default those of the file that was embedded.
      height: in a notebook, in pixels.

    Raises:
      UsageError: there is no such run or file, or the run drew no disk.
      ValueError: as in `world`.
    """
    if isinstance(shown, str | PathLike) or hasattr(shown, "workdir"):
        place = Path(getattr(shown, "workdir", shown))
        if str(place).startswith("milvus:"):
            raise UsageError(f"{place} is a database; what is shown is a run, a file of embeddings or points")
        if not place.exists():
            raise UsageError(f"{place} does not exist; what is shown is a run, a file of embeddings or points")
        if place.suffix != ".npz":
            return Explorer(_kept(place), height)
        with np.load(place, allow_pickle=False) as file:
            about = json.loads(str(file["about"]))
            points, paths, uncertainty = file["points"], file["paths"].tolist(), file["uncertainty"]
    elif hasattr(shown, "pictures"):
        points, about, uncertainty = shown.points, shown.about, shown.uncertainty
        paths = [picture.path for picture in shown.pictures]
    else:
        points, about = np.asarray(shown), {"geometry": geometry, "curvature": curvature}
        paths = [str(i) for i in range(len(points))] if paths is None else paths
        uncertainty = np.full(len(points), 0.5) if uncertainty is None else uncertainty
    laid = lay_out(points, paths, uncertainty, geometry=about["geometry"], curvature=about["curvature"], levels=levels)
    chosen = evenly(len(paths), len(laid["paths"]))
    laid["neighbors"] = _neighbors(np.asarray(points[chosen]), about)
    look = image or (_reader(Path(about["root"]), paths) if about.get("root") else None)
    if look is not None:
        laid["thumbnails"] = thumbnails(lambda i: look(int(chosen[i])), len(chosen), most=900)
    return Explorer(laid, height)


def _kept(workdir: Path) -> dict[str, Any]:
    """The world that a run left."""
    try:
        return json.loads((workdir / KEPT).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{workdir} holds no {KEPT}, which a run leaves in the end: python -m hypjax.evaluate --workdir {workdir} "
            "makes one"
        ) from error


def _neighbors(points: np.ndarray, about: Mapping[str, Any]) -> list[list[int]]:
    """The nearest of each point among all, by geodesic distance."""
    k = min(NEIGHBORS, len(points) - 1)
    if k < 1:
        return [[] for _ in points]
    manifold = geometry_named(about["geometry"], about["curvature"])
    own = np.arange(len(points))
    if isinstance(manifold, Product):
        return np.asarray(knn(points, points, k=k, distance=manifold.pairwise_dist, exclude=own)[0]).tolist()
    return Index(points, manifold).search(points, k, exclude=own).indices.tolist()


def _reader(root: Path, paths: Sequence[str]) -> Callable[[int], np.ndarray | None]:
    """What reads the pictures that were embedded, where they still are."""

    def read(row: int) -> np.ndarray | None:
        try:
            return decode(root / paths[row], name=paths[row], shorter_side=96)
        except DataError:
            return None

    return read
