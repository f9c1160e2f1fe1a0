"""What a run has left in its workdir."""

import json

import numpy as np


def rows(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def losses(workdir):
    return np.array([row["loss"] for row in rows(workdir) if "loss" in row])


def results(workdir):
    return json.loads((workdir / "results.json").read_text())


def saved(workdir):
    """The steps of which there is a checkpoint."""
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdecimal())
