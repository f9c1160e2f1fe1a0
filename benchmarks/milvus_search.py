"""A collection of a Milvus database, filled and searched: how long it takes, and what an approximate index finds.

Run it with:

    python benchmarks/milvus_search.py --address milvus:/tmp/a.db --work DIR [--images 100000] [--dims 128]
    python benchmarks/milvus_search.py --address milvus:http://localhost:19530/bench --work DIR

Points of the ball, clustered as embeddings of classes of five are: a class is a random direction, an image its class's
tangent vector and noise (`clustered`, seed 0). 300 of them ask for their ten nearest, all at once and one by one. On a
server HNSW then takes the place of the flat index, with either metric. The file of embeddings is searched beside it.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hypjax import geometry
from hypjax.data.unlabeled import Picture
from hypjax.stores import embeddings
from hypjax.stores.embeddings import Embeddings
from hypjax.stores.gallery import FileGallery
from hypjax.stores.hits import Gallery
from hypjax.stores.milvus import Collection
from hypjax.stores.milvus_gallery import MilvusGallery
from hypjax.stores.milvus_store import MilvusStore

ABOUT = {"model": "benchmark", "run": "benchmark", "step": 0, "root": "/nowhere"}
ABOUT |= {"geometry": "poincare", "distance": "geodesic", "curvature": 0.1}
ASKING, K = 300, 10


def clustered(images: int, dims: int, seed: int = 0) -> np.ndarray:
    """Points of the ball [images, dims]."""
    rng = np.random.default_rng(seed)
    centers = 0.1 * rng.normal(size=(-(-images // 5), dims)).astype(np.float32)
    tangent = np.repeat(centers, 5, axis=0)[:images] + 0.03 * rng.standard_normal((images, dims), np.float32)
    space = geometry.named("poincare", 0.1)
    return np.concatenate([np.asarray(space.embed(part)) for part in np.array_split(tangent, -(-images // 10_000))])


def timed(do: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives, and the seconds it took."""
    start = time.monotonic()
    return do(), time.monotonic() - start


def asked(gallery: Gallery, queries: np.ndarray, name: str, exact: list[list[str]] | None = None) -> list[list[str]]:
    """Searches, and prints a line of the table."""
    gallery.nearest(queries[:1], K)  # what is compiled, loaded and drawn up once
    found, together = timed(lambda: [[hit.path for hit in hits] for hits in gallery.nearest(queries, K)])
    alone = np.median([timed(lambda i=i: gallery.nearest(queries[i : i + 1], K))[1] for i in range(50)])
    recall = np.mean([len(set(a) & set(b)) / K for a, b in zip(exact or found, found, strict=True)])
    print(f"| {name} | {1000 * alone:.1f} ms | {together:.2f} s | {recall:.3f} |", flush=True)
    return found


def replace_index(address: str, metric: str) -> float:
    """Puts HNSW in the place of the index there is; the seconds it took."""
    collection = Collection(address)
    client, name = collection._client, collection._name

    def build() -> None:
        client.release_collection(name)
        client.drop_index(name, "lifted")
        index = client.prepare_index_params()
        index.add_index("lifted", index_type="HNSW", metric_type=metric, params={"M": 16, "efConstruction": 200})
        client.create_index(name, index)
        client.load_collection(name)

    return timed(build)[1]


def main() -> None:
    """Fills, searches and prints."""
    words = argparse.ArgumentParser()
    words.add_argument("--address", required=True)
    words.add_argument("--work", type=Path, required=True)
    words.add_argument("--images", type=int, default=100_000)
    words.add_argument("--dims", type=int, default=128)
    given = words.parse_args()
    points = clustered(given.images, given.dims)
    pictures = [Picture(f"{i // 1000}/{i}.jpg", i, i) for i in range(given.images)]
    whole = Embeddings(points, np.linspace(0, 1, given.images, dtype=np.float32), pictures, [], dict(ABOUT))
    embeddings.write(given.work / "bench.npz", whole)
    store = MilvusStore(given.address, dict(ABOUT))

    def fill() -> None:
        for start in range(0, given.images, 10_000):
            part = slice(start, start + 10_000)
            store.add(whole._replace(points=points[part], uncertainty=whole.uncertainty[part], pictures=pictures[part]))
        store.finish(pictures)

    rate = given.images / timed(fill)[1]
    store.close()
    store, opened = timed(lambda: MilvusStore(given.address, dict(ABOUT)))
    store.close()
    print(
        f"put {rate:,.0f} images/s; opened to go on in {opened:.1f} s\n\n| index | one query | {ASKING} | recall@{K} |"
    )
    print("|---|---|---|---|")
    queries = points[:: given.images // ASKING][:ASKING]
    exact = asked(FileGallery(given.work / "bench.npz"), queries, "the file")
    database = MilvusGallery(given.address, lagging=True)
    asked(database, queries, "FLAT, inner product", exact)
    database.close()
    if "://" in given.address:
        for metric in ("IP", "L2"):
            built = replace_index(given.address, metric)
            asked(MilvusGallery(given.address, lagging=True), queries, f"HNSW, {metric}, made in {built:.0f} s", exact)
    print(f"\nthis process took {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB at most")


if __name__ == "__main__":
    main()
