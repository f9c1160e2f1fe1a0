"""What is said of a whole index: about it, a map of it, and what in it the model is least sure of."""

from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np

from hypjax.retrieval.promises import RISKS
from hypjax.serving.resident import Resident, Snapshot
from hypjax.show import explore
from hypjax.stores import answers, calibrations
from hypjax.stores.hits import label_of

MOST_SHOWN = 20_000  # images of a map
MOST_QUEUED = 1_000
AT_ONCE = 16  # of a queue that are searched for together
_making = threading.Lock()


def about(resident: Resident) -> dict[str, Any]:
    """What the index is and what made it."""
    snapshot = resident.snapshot
    said, calibrated = snapshot.gallery.about, snapshot.calibrated
    return {
        **{name: said.get(name) for name in ("run", "step", "geometry", "curvature", "distance")},
        "count": len(snapshot.gallery),
        "calibrated": calibrated is not None,
        "risks": list(RISKS),
        "proven": [risk for risk in RISKS if calibrated and calibrations.guaranteed(calibrated, risk)],
        "promises": {str(risk): calibrations.promise(calibrated, risk) for risk in RISKS} if calibrated else {},
        "levels": [level["name"] for level in world(snapshot)["levels"]],
        "folder": resident.root.name,
        "changes": snapshot.changes,
        "notices": resident.notices,
    }


def world(snapshot: Snapshot) -> dict[str, Any]:
    """The map of an index, made once."""
    with _making:
        if "world" not in snapshot.made:
            said, sample = snapshot.gallery.about, snapshot.gallery.sample(MOST_SHOWN)
            snapshot.made["world"] = explore.world(
                sample.points,
                sample.paths,
                sample.uncertainty,
                geometry=said["geometry"],
                curvature=said["curvature"],
                limit=MOST_SHOWN,
            )
        return snapshot.made["world"]


def world_text(snapshot: Snapshot) -> bytes:
    """The map as JSON, made once."""
    if "text" not in snapshot.made:
        snapshot.made["text"] = json.dumps(world(snapshot), separators=(",", ":"), allow_nan=False).encode()
    return snapshot.made["text"]


def place(snapshot: Snapshot, point: np.ndarray) -> tuple[float | None, float | None]:
    """Where a point [.] lies on the map; nowhere until that is made."""
    made = snapshot.made.get("world")
    return explore.place(point, made) if made else (None, None)


def queue(snapshot: Snapshot, limit: int) -> list[dict[str, Any]]:
    """The images that the model is least sure of, least sure first.

    Where the index is calibrated each of them is searched for, and what it finds says how likely that is wrong; else
    the uncertainty does, where the run was calibrated. Of a database those of its map are looked at.

    Args:
      snapshot: of the index.
      limit: so many at most.
    """
    with _making:
        items = snapshot.made.setdefault("queue", [])
        if len(items) < limit:
            items += _queue(snapshot, len(items), limit)
        return items[:limit]


def _queue(snapshot: Snapshot, first: int, limit: int) -> list[dict[str, Any]]:
    """Those from the first on."""
    gallery = snapshot.gallery
    sample = gallery.sample(len(gallery) if snapshot.in_file else MOST_SHOWN)
    order = np.argsort(-sample.uncertainty, kind="stable")[first:limit]
    chances: list[float | None] = []
    for start in range(0, len(order), AT_ONCE):
        rows = order[start : start + AT_ONCE]
        if snapshot.calibrated is None or len(gallery) < 2:
            words = calibrations.before_search(gallery.about, sample.uncertainty[rows])
            chances += [word.probability for word in words] or [None] * len(rows)
            continue
        found = answers.answer(
            gallery,
            snapshot.calibrated,
            sample.points[rows],
            sample.uncertainty[rows],
            [1] * len(rows),
            leave_out=[sample.paths[row] for row in rows],
            risks=[None] * len(rows),
        )
        chances += [answer.word and answer.word.probability for answer in found]
    return [
        {
            "path": (path := sample.paths[row]),
            "label": label_of(path).rpartition("/")[2],
            "uncertainty": float(sample.uncertainty[row]),
            "p_wrong": chance,
        }
        for row, chance in zip(order.tolist(), chances, strict=True)
    ]
