"""Few classes to calibrate on: divided or cross-fitted, what is answered and how often a promise is broken.

    python evidence/few_classes.py WORKDIR --out evidence/results/few_classes.json

Of the validation classes of a run so many are drawn to calibrate, and all others are held against what is promised.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from answers import Answered

from hypjax.data import atomic
from hypjax.retrieval import Asked, answered_at, auroc, calibrate_answers, calibration_error
from hypjax.retrieval.promises import FORMS, error

COUNTS, DRAWS, ALPHA, DELTA = (8, 12, 20, 40), 200, 0.2, 0.1


def drawn(asked: Asked, count: int, draw: int, cross_fit: bool) -> dict[str, float]:
    """One draw of classes: how good the chance told is, and by each form what is answered and whether it broke."""
    names = np.unique(asked.classes)
    calibrates = np.isin(asked.classes, np.random.default_rng(draw).choice(names, count, replace=False))
    made, rest = calibrate_answers(asked.take(calibrates), cross_fit=cross_fit, seed=draw), asked.take(~calibrates)
    chance, ranked = made.probability(rest.scores), made.rank(rest.scores)
    told = {"auroc": auroc(chance, rest.wrong[0]), "calibration error": calibration_error(chance, rest.wrong[0])}
    for form, by_class in FORMS.items():
        found = made.level_guarantee(ALPHA, delta=DELTA, by_class=by_class)
        level, wrong = answered_at(ranked, rest.wrong, -np.inf if found is None else found.threshold)
        given = level < len(ranked)
        told[f"answered by {form}"] = float(given.mean())
        told[f"broken by {form}"] = float(error(given, wrong, rest.classes if by_class else None) > ALPHA)
    return told


def main() -> None:
    """Draws, and writes the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdir", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    asked, found = Answered(chosen.workdir, "validation").asked, {}
    for count in COUNTS:
        for how, cross_fit in (("divided", False), ("cross-fitted", True)):
            each = [drawn(asked, count, draw, cross_fit) for draw in range(DRAWS)]
            found[f"{count} {how}"] = {name: round(float(np.mean([one[name] for one in each])), 4) for name in each[0]}
            print(count, how, found[f"{count} {how}"], flush=True)
    atomic.write_text(chosen.out, json.dumps({"draws": DRAWS, "alpha": ALPHA, "runs": found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
