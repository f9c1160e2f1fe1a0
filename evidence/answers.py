"""Can answers be relied on? Scores of a search, its probabilities, and how often its guarantees keep their word.

    python evidence/answers.py runs/seed-0 runs/seed-1 ... [--split test|validation] [--draws 500]

Of the classes of a split, which the runs were not trained on, some calibrate, chosen by a hash of their names as at the
end of a run; the others are scored, all in one gallery. Then classes to calibrate on are drawn anew, with replacement
from all of them, and the risk that is promised is compared with that over all. Figures of each run go to
`evidence/results/answers.json`.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np

from hypjax.config import assembly
from hypjax.data import atomic
from hypjax.retrieval import (
    Asked,
    Calibration,
    answered_at,
    ask,
    auroc,
    calibrate_answers,
    cross_fitted,
    knn,
    promise_figures,
)
from hypjax.retrieval.asking import NEIGHBORS
from hypjax.retrieval.promises import FORMS, RISKS, error
from hypjax.run import Run, trained
from hypjax.run.answers import calibrating

RESULTS = Path(__file__).parent / "results"
DELTA = 0.1


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
        labels, k = source.labels, NEIGHBORS + int(np.bincount(source.labels).max())
        found, distances = (
            np.asarray(part)
            for part in knn(points, points, k=k, distance=model.space.distance, exclude=np.arange(len(points)))
        )
        asks = np.bincount(labels)[labels] > 1
        self.size = len(points)
        self.calibrating, self.level_names = calibrating(model.config, source), source.level_names
        self.features = np.concatenate([part.features for part in parts])[asks]
        self.asked = ask(uncertainty, distances, labels[found], labels, source.ancestors).take(asks)


def figures(answered: Answered) -> dict[str, float]:
    """Of a calibration on the classes that calibrate a run, and queries of the others, as `results.json` has them."""
    asked = answered.asked
    calibrates = np.isin(asked.classes, answered.calibrating)
    rest = asked.take(~calibrates)
    u, wrong = rest.uncertainty, rest.wrong[0]
    told = {
        "recall@1": float(1 - wrong.mean()),
        "auroc of u": auroc(u, wrong),
        "auroc of the distance": auroc(rest.scores[0][:, 1], wrong),
        "auroc of the ratio": auroc(rest.scores[0][:, 2], wrong),
        "auroc of the gap to a rival": auroc(-rest.scores[0][:, 3], wrong),
    }
    # Learned from the failures of the very classes that are scored, other folds of them: what is left to be found.
    for name, known in (("scores", asked.scores[0]), ("features, before a search", answered.features)):
        fitted = (cross_fitted(known, asked.wrong[0], asked.classes, penalty=penalty) for penalty in (10.0, 100.0, 1e3))
        told[f"auroc of an oracle of {name}"] = max(auroc(one[~calibrates], wrong) for one in fitted)
    made = calibrate_answers(asked.take(calibrates))
    return told | promise_figures(
        made, rest, most=answered.size, level_names=answered.level_names, risks=RISKS, delta=DELTA
    )


def broken(answered: Answered, draws: int) -> dict[str, float]:
    """How often a guarantee is broken, over draws of as many calibration classes as there are; and what it answers."""
    asked = answered.asked
    names = np.unique(asked.classes)
    rows_of = [np.flatnonzero(asked.classes == name) for name in names]
    told: dict[str, float] = {}
    for draw in range(draws):
        chosen = np.random.default_rng(draw).integers(0, len(names), len(names))
        drawn = asked.take(np.concatenate([rows_of[c] for c in chosen]))
        as_new = np.repeat(np.arange(len(chosen)), [len(rows_of[c]) for c in chosen])
        made = calibrate_answers(drawn._replace(classes=as_new), seed=draw)
        for name, given, wrong, by_class in answers(made, asked):
            # A form promises a risk in which its units weigh alike.
            risk = error(given, wrong, asked.classes if by_class else None)
            alpha = float(name.split()[0])
            told[f"answered at {name}"] = told.get(f"answered at {name}", 0.0) + given.mean() / draws
            told[f"broken at {name}"] = told.get(f"broken at {name}", 0.0) + (risk > alpha) / draws
    return {name: float(value) for name, value in told.items()}


def answers(made: Calibration, asked: Asked) -> Iterator[tuple[str, np.ndarray, np.ndarray, bool]]:
    """For each risk and form, with answers of classes and of any level: which are given, and which are wrong."""
    ranked = made.rank(asked.scores)
    for alpha in RISKS:
        for form, by_class in FORMS.items():
            for levels, found in (
                (1, made.guarantee(alpha, delta=DELTA, by_class=by_class)),
                (len(ranked), made.level_guarantee(alpha, delta=DELTA, by_class=by_class)),
            ):
                threshold = -np.inf if found is None else found.threshold
                level, wrong = answered_at(ranked[:levels], asked.wrong, threshold)
                yield f"{alpha} by {form}{', any level' * (levels > 1)}", level < levels, wrong, by_class


def main() -> None:
    """Reads the command line, scores and tells."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workdirs", nargs="+", type=Path)
    parser.add_argument("--split", choices=("test", "validation"), default="test")
    parser.add_argument("--draws", type=int, default=500, help="of calibration classes; 500")
    parser.add_argument("--out", type=Path, default=RESULTS / "answers.json")
    asked = parser.parse_args()
    runs: list[dict[str, float]] = []
    for workdir in asked.workdirs:
        answered = Answered(workdir, asked.split)
        runs.append(figures(answered) | broken(answered, asked.draws))
        jax.clear_caches()
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(f"{name:<40} {np.mean(values):.3f} ± {np.std(values, ddof=len(values) > 1):.3f}")
    atomic.write_text(
        asked.out, json.dumps({"split": asked.split, "draws": asked.draws, "runs": runs}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
