"""Nearest neighbors where an exact search is too slow: FAISS proposes, distances in float64 decide.

FAISS compares vectors by their Euclidean distance, and its graphs and cells are made by comparing gallery points with
each other. Lifted points (`hypjax.retrieval.lift`) do not serve for that: their inner product orders points for a
query, but between two points it, as their Euclidean distance does, mostly tells who is farther from the origin. A graph
made with it finds next to nothing. So FAISS is given each point of a hyperbolic space moved halfway to the origin,

    ball      h = x / (1 + √(1 − c‖x‖²))        at the radius ρ/2 in place of ρ

which is half the point itself where space is nearly flat, does not crowd at the rim as points of the ball do, and does
not let a difference of radius outweigh one of direction as much as tangent vectors do [ours]. The share of the ten
nearest among the hundred nearest by Euclidean distance, and among a hundred that HNSW finds by inner product, 50,000
points of 64 dimensions in classes of five at radii ρ = √c d(0, x) (`benchmarks/approximate.py --vectors`):

    ρ                         0.3 to 1.5   1 to 4.6   4 to 8   1 to 11
    halfway                      1.000       0.999     0.963     0.977
    ball                         1.000       1.000     0.580     1.000
    tangent                      1.000       0.966     0.996     0.561
    lifted                       0.847       0.288     0.252     0.106
    lifted, inner product        0.055       0.004     0.005     0.006

Points of flat space and of the sphere are what they are: there the Euclidean distance orders as the geodesic does.
"""

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Array, Float, Int

from hypjax.geometry import Manifold
from hypjax.retrieval.index import Neighbors
from hypjax.retrieval.lift import HYPERBOLIC, coordinates, flatten, is_cosine, require_finite, require_search
from hypjax.retrieval.products import Products
from hypjax.retrieval.rows import Rows

KINDS = ("ivf_pq", "hnsw")
LEAST = 256  # points, below which no product quantizer can be trained
K, ASKING = 10, 256  # neighbors and queries by which the recall is measured
WIDTHS = (10, 20, 40)  # candidates for each neighbor
LINKS, BREADTH = 32, 64  # of the graph: neighbors of a point, and how many are looked at to find them
TRAINING = 40  # points for each cell from which cells are learned
BLOCK = 2**21  # coordinates that are worked on at a time
FORMAT = "hypjax approximate 1"


class ApproximateIndex:
    """A gallery to be searched for most of the nearest points in its geometry, much faster than for all of them.

    Exact distances order what FAISS proposes, so whatever is found has its true distance and place among the found;
    a nearest point may be missing. How often is measured when the index is made: 256 points of the gallery, drawn with
    `seed`, ask for their ten nearest but themselves, and search takes more and more effort until `recall` of these are
    found. The points, of which few are looked at, may stay on a disk; in memory are codes, half a byte a coordinate
    (`ivf_pq`) or a byte (`hnsw`), and for each point 8 bytes or the 270 of a graph.

    Example:
        >>> from hypjax.geometry import Poincare
        >>> gallery = 0.05 * np.random.default_rng(0).normal(size=(1000, 16)).astype(np.float32)
        >>> index = ApproximateIndex(gallery, Poincare(1.0))
        >>> found = index.search(gallery[:2], k=3)
        >>> found.indices[:, 0].tolist(), index.recall >= 0.97
        ([0, 1], True)

    Args:
        points: Points [m, .] of the manifold, m ≥ 256: an array, one in a file (`np.load(…, mmap_mode="r")`), or what
            gives rows by slice and by indices and has a shape. They are not copied.
        manifold: `Poincare`, `Lorentz`, `Euclidean` or `Sphere`.
        kind: `ivf_pq`, cells that a query looks through (product-quantized, 4 bits a coordinate), or `hnsw`, a graph
            (8 bits). Cells take a fifth of the memory and are made far sooner.
        distance: `geodesic`; on the sphere also `cosine`, as for `Index`.
        recall: The share of the ten nearest that is to be found. Where no effort reaches it, the greatest is made.
        seed: Of the points that ask and of those that cells are learned from.

    Attributes:
        recall: The share that was found.
        effort: Cells that are looked through, or points of the graph that are kept in view.
        width: Candidates for each neighbor that are measured, a hundred at least.

    Raises:
        ImportError: FAISS is not installed.
        ValueError: An unknown name, too few points, or as `lift_gallery`.
    """

    def __init__(
        self,
        points: Any,
        manifold: Manifold,
        *,
        kind: str = KINDS[0],
        distance: str = "geodesic",
        recall: float = 0.97,
        seed: int = 0,
    ) -> None:
        self._hold(points, manifold, kind, distance)
        rng = np.random.default_rng(seed)
        self._faiss = self._built(rng)
        self._tune(recall, rng)

    def _hold(self, points: Any, manifold: Manifold, kind: str, distance: str) -> None:
        if kind not in KINDS:
            raise ValueError(f"kind {kind!r} is unknown; there are {' and '.join(KINDS)}")
        self._cosine = is_cosine(distance, manifold)
        if len(points) < LEAST:
            raise ValueError(
                f"{len(points)} points are too few to be searched approximately: {LEAST} at least; an "
                "exact Index is as fast there"
            )
        self._library = _library()
        self.points, self.manifold, self.kind, self.distance = points, manifold, kind, distance
        rows = points if isinstance(points, np.ndarray) else Rows(len(points), points.__getitem__)
        self._products = Products(rows, manifold, cosine=self._cosine)
        self.recall, self.effort, self.width = 0.0, 1, WIDTHS[0]

    def __len__(self) -> int:
        return len(self.points)

    def search(
        self,
        queries: Float[Array | np.ndarray, "n d"],
        k: int,
        *,
        exclude: Int[Array | np.ndarray, "n"] | None = None,
    ) -> Neighbors:
        """Find most of the k nearest points of each query, in the order of their exact distances.

        Args:
            queries: Points of the same manifold.
            k: Neighbors for each query, 1 ≤ k ≤ the points left to it. `recall` is of ten.
            exclude: For each query a row that must not be found, −1 for none.

        Returns:
            Rows and distances, nearest first. A query for which FAISS proposes fewer than k is searched exactly.

        Raises:
            ValueError: As `Index.search`.
        """
        queries, excluded = require_search(queries, k, exclude, self.points.shape)
        width = min(len(self), self.width * max(k, K) + 1)  # one more, for the one that may not be found
        rows, gaps = np.empty((len(queries), k), np.int64), np.empty((len(queries), k))
        for part in _parts(len(queries), width * self.points.shape[1]):
            _, proposed = self._faiss.search(self._vectors(queries[part]), width)
            rows[part], gaps[part] = self._products.measured(queries[part], proposed, k, excluded[part])
        distances, few = self._products.distance(gaps), np.isnan(gaps[:, -1])
        if few.any():
            exact = self._products.nearest(queries[few], k, excluded[few], index=np.int64, distance=np.float64)
            rows[few], distances[few] = exact
        return Neighbors(rows, distances)

    def save(self, file: Any, *, of: str = "") -> None:
        """Writes the index, but for its points, to an open file.

        Args:
            file: Open for bytes, and written to.
            of: What names the points, such as a checksum, for `load` to compare.
        """
        about: dict[str, Any] = {
            "format": FORMAT,
            "of": of,
            "kind": self.kind,
            "space": self._space,
            "shape": [*self.points.shape],
        }
        about |= {"recall": self.recall, "effort": self.effort, "width": self.width}
        file.write(json.dumps(about).encode() + b"\n")
        self._library.write_index(self._faiss, self._library.PyCallbackIOWriter(file.write))

    @classmethod
    def load(
        cls, file: Any, points: Any, manifold: Manifold, *, distance: str = "geodesic", of: str = ""
    ) -> "ApproximateIndex":
        """Reads what `save` wrote.

        Args:
            file: Open for bytes, and read from.
            points: Of which it was made.
            manifold: Theirs.
            distance: As it was made with.
            of: As it was saved with.

        Raises:
            ImportError: FAISS is not installed.
            ValueError: It is damaged or something else, or of other points, another manifold or distance.
        """
        try:
            about = json.loads(file.readline(10_000))
            if about["format"] != FORMAT:
                raise ValueError(f"its format is not {FORMAT!r}")
            index = cls.__new__(cls)
            index._hold(points, manifold, about["kind"], distance)
            if (about["of"], about["space"], about["shape"]) != (of, index._space, [*points.shape]):
                raise ValueError("it is one of other points, or in another space")
            index._faiss = index._library.read_index(index._library.PyCallbackIOReader(file.read))
            if index._faiss.ntotal != len(points):
                raise ValueError("it is not whole")
            index._set(int(about["effort"]), int(about["width"]))
            index.recall = float(about["recall"])
        except (KeyError, TypeError, AttributeError, RuntimeError, UnicodeDecodeError) as error:
            raise ValueError(f"it is no approximate index ({error})") from error
        return index

    @property
    def _space(self) -> str:
        return f"{self.distance} of {self.manifold}"

    def _vectors(self, points: np.ndarray) -> np.ndarray:
        """What FAISS compares by their Euclidean distance, float32 [n, D]."""
        require_finite(points)
        scale, stretch, _ = flatten(points, self.manifold, cosine=self._cosine)
        if isinstance(self.manifold, HYPERBOLIC):
            scale = scale / (1 + 1 / np.sqrt(stretch))
        return np.ascontiguousarray(scale[:, None] * coordinates(points, self.manifold), np.float32)

    def _built(self, rng: np.random.Generator) -> Any:
        """The index of FAISS, with all points in it."""
        faiss, m = self._library, len(self)
        d = self._vectors(np.asarray(self.points[:1])).shape[1]
        cells = min(2 ** round(np.log2(4 * np.sqrt(m))), m // TRAINING)
        if self.kind == "hnsw":
            made = faiss.IndexHNSWSQ(d, faiss.ScalarQuantizer.QT_8bit, LINKS)
            made.hnsw.efConstruction = BREADTH
            made.keep_max_size_level0 = True  # else nothing leads to small clusters far out
        else:
            made = faiss.IndexIVFPQFastScan(faiss.IndexFlatL2(d), d, cells, d, 4)
            made.cp.niter, made.cp.seed, made.pq.cp.seed = 10, int(rng.integers(2**31)), int(rng.integers(2**31))
            made.cp.min_points_per_centroid = made.pq.cp.min_points_per_centroid = 1
        sample = np.sort(rng.choice(m, min(m, TRAINING * max(cells, 256)), replace=False))
        learned = [self._vectors(np.asarray(self.points[sample[part]])) for part in _parts(len(sample), d)]
        made.train(np.concatenate(learned))
        for part in _parts(m, d):
            made.add(self._vectors(np.asarray(self.points[part])))
        return made

    def _set(self, effort: int, width: int) -> None:
        self.effort, self.width = effort, width
        if self.kind == "hnsw":
            self._faiss.hnsw.efSearch = effort
        else:
            self._faiss.nprobe = effort

    def _tune(self, wanted: float, rng: np.random.Generator) -> None:
        """Takes as much effort as it needs to find a share of the nearest."""
        asking = np.sort(rng.choice(len(self), ASKING, replace=False))
        queries = np.asarray(self.points[asking])
        exact = self._products.nearest(queries, K, asking, index=np.int64, distance=np.float64)[1]
        first, most = (128, 4096) if self.kind == "hnsw" else (4, self._faiss.nlist)
        efforts = [*(2**power for power in range(first.bit_length() - 1, 32) if first <= 2**power < most), most]
        for effort in efforts:
            for width in WIDTHS:
                self._set(effort, width)
                found = self.search(queries, K, exclude=asking).distances
                # By distance: of equally far ones any will do.
                self.recall = float(np.mean(found <= exact[:, -1:] * (1 + 1e-9)))
                if self.recall >= wanted:
                    return


def _parts(count: int, each: int) -> Iterator[slice]:
    """Slices of a power of two of things that take so many coordinates each."""
    step = 1 << (max(1, BLOCK // each).bit_length() - 1)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _library() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise ImportError('an approximate search needs FAISS: pip install "hypjax[search]"') from error
    return faiss
