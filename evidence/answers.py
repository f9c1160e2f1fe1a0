"""Can answers be relied on? Scores of a search, its probabilities, and how often its guarantees keep their word.

    python evidence/answers.py runs/seed-0 runs/seed-1 ... [--split test|validation] [--draws 500]

Of the classes of a split, which the runs were not trained on, a third calibrates, chosen by a hash of their names; the
others are scored, all in one gallery. Then classes to calibrate on are drawn anew, with replacement from all of them,
and the risk that is promised is compared with that over all. Figures of each run and their mean go to
`evidence/results/answers.json`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import jax
import numpy as np

from hypjax.config import assembly
from hypjax.data import atomic
from hypjax.data.split import hash_order
from hypjax.retrieval import (
    answer_scores,
    auroc,
    calibrate_answers,
    calibration_error,
    false_positive_rate,
    knn,
    risk_coverage,
)
from hypjax.retrieval.calibration import NEIGHBORS, without_class
from hypjax.run import Run, trained

RESULTS = Path(__file__).parent / "results"
RISKS, DELTA = (0.05, 0.1, 0.2), 0.1
FORMS = ("images", "classes")


class Answered:
    """What the images of a split find among each other.

    Args:
      workdir: of a run.
      split: `test` or `validation`.
    """

    def __init__(self, workdir: Path, split: str) -> None:
        model = trained.load(Run.open(workdir))
        source = getattr(assembly.assemble(model.config).splits, split)
        parts = [embedded for embedded, _ in model.embed(source)]
        points, uncertainty = (np.concatenate([getattr(p, name) for p in parts]) for name in ("points", "uncertainty"))
        labels, mates = source.labels, int(np.bincount(source.labels).max())
        k = NEIGHBORS + mates
        found, distances = (
            np.asarray(part)
            for part in knn(points, points, k=k, distance=model.space.distance, exclude=np.arange(len(points)))
        )
        away, others = without_class(distances, labels[found], labels)
        asks = np.bincount(labels)[labels] > 1
        self.names = list(source.class_names)
        self.labels, self.u = labels[asks], uncertainty[asks]
        self.wrong = (labels[found[:, 0]] != labels)[asks]
        near = distances[:, :NEIGHBORS]
        self.scores = {
            "with labels": answer_scores(uncertainty, near, labels[found[:, :NEIGHBORS]])[asks],
            "without": answer_scores(uncertainty, near)[asks],
        }
        self.removed = {
            "with labels": answer_scores(uncertainty, away, others)[asks],
            "without": answer_scores(uncertainty, away)[asks],
        }

    def calibrated(self, kind: str, rows: np.ndarray, classes: np.ndarray, seed: int = 0):
        """A calibration on some of the queries."""
        return calibrate_answers(
            self.u[rows], self.scores[kind][rows], self.removed[kind][rows], self.wrong[rows], classes, seed=seed
        )


def figures(answered: Answered, kind: str) -> dict[str, float]:
    """Of a calibration on a third of the classes, and queries of the others."""
    order = hash_order(answered.names, seed=1)
    calibrates = np.isin(answered.labels, order[: len(order) // 3])
    made = answered.calibrated(kind, np.flatnonzero(calibrates), answered.labels[calibrates])
    rest = ~calibrates
    wrong, u, scores = answered.wrong[rest], answered.u[rest], answered.scores[kind][rest]
    told = {
        "recall@1": 1 - wrong.mean(),
        "auroc of u": auroc(u, wrong),
        "auroc of the distance": auroc(scores[:, 1], wrong),
        "auroc of the ratio": auroc(scores[:, 2], wrong),
        "auroc": auroc(made.ranking(scores), wrong),
        "calibration error before a search": calibration_error(made.before(u[:, None]), wrong),
        "calibration error": calibration_error(made.probability(scores), wrong),
    }
    coverage, risk = risk_coverage(made.ranking(scores), wrong)
    for alpha in RISKS:
        for form in FORMS:
            found = made.guarantee(alpha, delta=DELTA, by_class=form == "classes")
            given = made.ranking(scores) <= (found.threshold if found else -1)
            told[f"coverage at {alpha} by {form}"] = given.mean()
            told[f"errors at {alpha} by {form}"] = wrong[given].mean() if given.any() else 0.0
        told[f"coverage at {alpha} at best"] = coverage[risk <= alpha].max(initial=0.0)
    both = np.concatenate([made.absence(scores), made.absence(answered.removed[kind][rest])])
    plain = np.concatenate([scores[:, 1], answered.removed[kind][rest][:, 1]])
    absent = np.repeat([False, True], rest.sum())
    for name, score in (("nothing like it", both), ("nothing like it by the distance", plain)):
        told |= {f"{name}: auroc": auroc(score, absent), f"{name}: fpr at 95": false_positive_rate(score, absent)}
    return {name: float(value) for name, value in told.items()}


def broken(answered: Answered, kind: str, draws: int) -> dict[str, float]:
    """How often a guarantee is broken, over draws of as many calibration classes as there are; and what it answers."""
    classes = np.unique(answered.labels)
    rows_of = [np.flatnonzero(answered.labels == c) for c in classes]
    weights = {"images": np.ones(len(answered.labels)), "classes": 1 / np.bincount(answered.labels)[answered.labels]}
    told = {f"{what} at {a} by {form}": 0.0 for what in ("broken", "answered") for a in RISKS for form in FORMS}
    for draw in range(draws):
        chosen = np.random.default_rng(draw).integers(0, len(classes), len(classes))
        rows = np.concatenate([rows_of[c] for c in chosen])
        drawn = np.repeat(np.arange(len(chosen)), [len(rows_of[c]) for c in chosen])
        made = answered.calibrated(kind, rows, drawn, seed=draw)
        rank = made.ranking(answered.scores[kind])
        for alpha in RISKS:
            for form in FORMS:
                found = made.guarantee(alpha, delta=DELTA, by_class=form == "classes")
                given = rank <= (found.threshold if found else -1)
                told[f"answered at {alpha} by {form}"] += given.mean() / draws
                if given.any():  # a form promises a risk in which its units weigh alike
                    risk = np.average(answered.wrong[given], weights=weights[form][given])
                    told[f"broken at {alpha} by {form}"] += (risk > alpha) / draws
    return {name: float(value) for name, value in told.items()}


def main() -> None:
    """Reads the command line, scores and tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdirs", nargs="+", type=Path)
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--draws", type=int, default=500, help="of calibration classes; 500")
    parser.add_argument("--out", type=Path, default=RESULTS / "answers.json")
    asked = parser.parse_args()
    held: dict[str, list[dict[str, float]]] = {}
    for workdir in asked.workdirs:
        answered = Answered(workdir, asked.split)
        for kind in answered.scores:
            held.setdefault(kind, []).append(figures(answered, kind) | broken(answered, kind, asked.draws))
        jax.clear_caches()
    for kind, runs in held.items():
        print(f"\n{kind}, {len(runs)} runs")
        for name in runs[0]:
            values = [run[name] for run in runs]
            print(f"  {name:<40} {np.mean(values):.3f} ± {np.std(values, ddof=len(values) > 1):.3f}")
    atomic.write_text(
        asked.out, json.dumps({"split": asked.split, "draws": asked.draws, "runs": held}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
