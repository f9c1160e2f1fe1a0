"""Collections filled with what a model might make, and what they hold."""

import numpy as np

from hypjax import geometry
from hypjax.data.unlabeled import Picture
from hypjax.retrieval import Probability
from hypjax.stores.embeddings import Embeddings
from hypjax.stores.milvus import Collection
from hypjax.stores.milvus_store import WHOLE, MilvusStore

OF_U = Probability(np.array([0.5]), 1.0, np.array([0.45]), np.array([0.01]))
ABOUT = {"model": "m", "run": "hyp_uml", "step": 3, "root": "/photos", "hypjax": "0", "uncertainty": "norm"}
ABOUT |= {"geometry": "poincare", "distance": "geodesic", "curvature": 0.5}
CALIBRATED = {"p_wrong": {"of_u": OF_U.as_dict(), "size": 9, "classes": 3}}
HOSTILE = [
    "a\nb\r.png",
    "100%_é𝄞.png",
    '") or (uncertainty >= 0.png',
    "tab\t.png",
    " .png",
    "\x01.png",
]


def made(names, about=ABOUT, seed=0, spread=0.4):
    """What a model might make of pictures."""
    rng = np.random.default_rng(seed)
    space = geometry.named(about["geometry"], about["curvature"])
    points = np.asarray(space.embed(spread * rng.normal(size=(len(names), 6)).astype(np.float32)), np.float32)
    uncertainty = rng.integers(0, 5, len(names)).astype(np.float32) / 4
    return Embeddings(points, uncertainty, [Picture(name, i, 7) for i, name in enumerate(names)], [], about)


def keep(address, whole, share=WHOLE):
    """Fills a collection with what `made` made, as `fill` does."""
    store = MilvusStore(address, whole.about, share)
    missing = set(store.missing([picture for picture in whole.pictures if picture in share]))
    rows = np.array([picture in missing for picture in whole.pictures], bool)
    part = whole._replace(points=whole.points[rows], uncertainty=whole.uncertainty[rows])
    store.add(part._replace(pictures=[picture for picture in whole.pictures if picture in missing]))
    filled = store.finish([picture for picture in whole.pictures if picture in share])
    store.close()
    return int(rows.sum()), filled


def held(address):
    """What a collection holds, by path; there are no doubles."""
    collection = Collection(address)
    rows = list(collection.scan(["path", "size", "point", "lifted", "uncertainty", "p_wrong", "label"]))
    assert collection.count() == len({row["path"] for row in rows}) == len(rows)
    collection.close()
    return {row["path"]: row for row in rows}


def require_equal(address, whole, atol=0.0):
    """Checks that a collection holds just this."""
    rows = held(address)
    assert set(rows) == {picture.path for picture in whole.pictures}
    for name, values in (("point", whole.points), ("uncertainty", whole.uncertainty)):
        np.testing.assert_allclose([rows[p.path][name] for p in whole.pictures], values, rtol=0, atol=atol)


def found(gallery, *args, **more):
    return [
        [(hit.path, round(hit.distance, 9), hit.uncertainty) for hit in of] for of in gallery.nearest(*args, **more)
    ]
