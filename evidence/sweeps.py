"""The comparisons behind `evidence/README.md`, by name: what is compared, with which seeds, by which figures.

    python evidence/sweeps.py geometries

calls `hypjax.compare` with the configs that `evidence/sweeping` lists, into runs/evidence/NAME; whatever else is said
goes to it too. The figures of all runs are then kept in evidence/results/NAME.json, from which `evidence/plots.py`
draws. Those with `final` in their name and `finetuned`, whose settings the others chose, score the test classes; all
others look at the validation classes alone.
`--print` shows the configs and trains nothing.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from sweeping import parts, spaces, trees
from sweeping.sweep import Sweep

from hypjax import compare
from hypjax.run import comparison, manifest, status

RESULTS = Path(__file__).parent / "results"
SWEEPS = spaces.SWEEPS | parts.SWEEPS | trees.SWEEPS


def main() -> None:
    """Runs the sweep that is named."""
    name, *rest = sys.argv[1:] or ["--help"]
    if name not in SWEEPS:
        print(__doc__, "\nNAME is one of", ", ".join(SWEEPS))
        return
    sweep = SWEEPS[name]()
    if "--print" in rest:
        print("\n".join(f"{entry}={config}" for entry, config in sweep.entries.items()))
        return
    entries = [f"{entry}={config}" for entry, config in sweep.entries.items()]
    words = [f"--seeds={sweep.seeds}", f"--split={sweep.split}", f"--metrics={','.join(sweep.metrics)}"]
    words += [f"--workdir=runs/evidence/{name}", *rest]
    status.run(lambda _: compare.main(["compare", *words, *entries]))
    keep(name, sweep)


def keep(name: str, sweep: Sweep) -> None:
    """Writes what each run measured, in the order of its seeds, and with which config and versions.

    What was kept before stays, where the config is the same and the runs are gone.
    """
    report = json.loads(Path(f"runs/evidence/{name}/comparison.json").read_text())
    path, seeds = RESULTS / f"{name}.json", comparison.read_seeds(sweep.seeds)
    before = json.loads(path.read_text())["runs"] if path.exists() else {}
    runs = {entry: old for entry, old in before.items() if old["config"] == sweep.entries.get(entry)}
    for entry, run in report["runs"].items():
        config, old = sweep.entries[entry], runs.get(entry, {})
        held = old.get("figures", {})
        figures = {}
        for figure, row in run["figures"].items():
            kept = dict(zip(seeds, held.get(figure, ()), strict=False)) | {int(s): v for s, v in row["values"].items()}
            figures[figure] = [None if kept.get(seed) is None else round(kept[seed], 4) for seed in seeds]
        runs[entry] = {"config": config, "figures": figures}
    made = manifest.environment()
    with_what = {key: made[key] for key in ("python", "hypjax", *manifest.PACKAGES, "device")}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"split": report["split"], "made_with": with_what, "runs": runs}, indent=1)
    flat = re.sub(r"\[[^\]]*\]", lambda values: " ".join(values[0].split()), text)  # a line for each figure
    path.write_text(flat + "\n")


if __name__ == "__main__":
    main()
