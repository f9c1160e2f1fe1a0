"""The comparisons behind `evidence/README.md`, by name: what is compared, with which seeds, by which figures.

    python evidence/sweeps.py geometries

calls `hypjax.compare` with the configs listed below, into runs/evidence/NAME; whatever else is said goes to it too. The
figures of all runs are then kept in evidence/results/NAME.json, from which `evidence/plots.py` draws. Those with
`final` in their name and `finetuned`, whose settings the others chose, score the test classes; all others look at the
validation classes alone.
`--print` shows the configs and trains nothing.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from hypjax import compare
from hypjax.run import manifest, status

RESULTS = Path(__file__).parent / "results"

VIT, UML = "configs/hyp_vit.py:frozen,head=trained", "configs/hyp_uml.py:frozen,head=trained"
TUNED = {  # of `geometries`, by Recall@1 on the validation classes with its first two seeds
    "ball": "geometry=poincare,loss.temperature=0.4,curvature=0.03",
    "flat": "geometry=euclidean,loss.temperature=0.4,head.clip_radius=4.6,head.start_radius=2.3",
    "sphere": "geometry=sphere,distance=cosine,loss.temperature=0.07",
}
HIER, EASY, GHM = "regularizer=hier", "miner=easy_positive", "distance=hybrid,hybrid.order=2"
RADIUS = ["direction_agreement", "direction_recall@1", "radius_mean", "radius_std", "saturated_share"]
# Fine-tuned in two minutes instead of five: smaller pictures, fewer steps.
SMALL = "steps=300,data.image_size=32,data.eval_image_size=48,evaluation.every=300,evaluation.degraded_queries=32"
KEPT = f"configs/hyp_vit.py:{SMALL},head=principal"
SPACES = {
    "ball_t0.05": "loss.temperature=0.05",
    "ball_t0.1": "loss.temperature=0.1",
    "ball_t0.2": "loss.temperature=0.2",
    "flat_t0.03": "geometry=euclidean,loss.temperature=0.03",
    "flat_t0.05": "geometry=euclidean,loss.temperature=0.05",
    "flat_t0.1": "geometry=euclidean,loss.temperature=0.1",
    "sphere_t0.03": "geometry=sphere,distance=cosine,loss.temperature=0.03",
    "sphere_t0.05": "geometry=sphere,distance=cosine,loss.temperature=0.05",
    "sphere_t0.07": "geometry=sphere,distance=cosine,loss.temperature=0.07",
}
SHAPES = {  # what else is tuned, at the best temperature: centering, and size or kind of distance
    "center": "head.normalize=center",
    "half": "head.clip_radius=1.15,head.start_radius=0.575",
    "double": "head.clip_radius=4.6,head.start_radius=2.3",
    "geodesic": "distance=geodesic",
}
CHOSEN = {  # by Recall@1 on the validation classes with the first seed
    "ball": SPACES["ball_t0.1"],
    "lorentz": "geometry=lorentz,loss.temperature=0.1",
    "flat": f"{SPACES['flat_t0.05']},{SHAPES['double']}",
    "sphere": SPACES["sphere_t0.05"],
}
PLAIN = ["recall@1", "map@r", "body_recall@1", "direction_recall@1", "direction_agreement", "saturated_share"]
KINDS = ("blur", "noise", "occlusion")
DOUBT = ["uncertainty_auroc", "uncertainty_auroc_nearest_distance", "uncertainty_auroc_distance_ratio"]
DEGRADED = [f"{kind}_{figure}" for figure in (*DOUBT[:2], "rank_correlation") for kind in KINDS]
TREES = [f"{tree}_tree_triplets@subgroup" for tree in ("linkage", "minimax")]
TEACHERS = {  # by what a tree teaches
    "alone": "regularizer=none",
    "levels": "regularizer=none,tree.decay=0.5",
    "nodes": "regularizer=nodes",
    "cones": "regularizer=nodes+cones",
    "weak_levels": "regularizer=none,tree.decay=0.15",
    "weak_nodes": "regularizer=nodes,nodes.weight=0.1",
    "weak_cones": "regularizer=nodes+cones,nodes.weight=0.1,cones.weight=0.1",
}
BEST = ("ball_t0.2_", "flat_t0.2_", "sphere_t0.03_")  # of `trees`, alone, by Recall@1 on the validation classes
FREE = {  # what a free head is tuned over
    "ball": ("geometry=poincare", (0.1, 0.2, 0.4)),
    "flat": ("geometry=euclidean", (0.1, 0.2, 0.4)),
    "sphere": ("geometry=sphere,distance=cosine", (0.03, 0.07, 0.15)),
}
LEVELS = [
    "recall@1",
    "map@r",
    *(f"{figure}@{level}" for level in ("subgroup", "group") for figure in ("recall@1", "agreement")),
    "nearest_lca_height",
    *(f"radius_order@{level}" for level in ("subgroup", "group")),
    *TREES,
    *RADIUS,
]


class Sweep(NamedTuple):
    """One comparison.

    Attributes:
      entries: name to config.
      metrics: columns of the table.
      seeds: as `hypjax.compare` takes them.
      split: whose figures.
    """

    entries: dict[str, str]
    metrics: list[str]
    seeds: str = "0,1,2,3,4"
    split: str = "validation"


def geometries() -> Sweep:
    """Twelve settings for each geometry: temperature and curvature, scale or kind of distance."""
    entries = {}
    for t in (0.05, 0.1, 0.2, 0.4):
        for c in (0.03, 0.1, 0.3):
            entries[f"ball_t{t}_c{c}"] = f"{VIT},geometry=poincare,loss.temperature={t},curvature={c}"
        for r in (1.15, 2.3, 4.6):
            size = f"head.clip_radius={r},head.start_radius={r / 2}"
            entries[f"flat_t{t}_r{r}"] = f"{VIT},geometry=euclidean,loss.temperature={t},{size}"
    for t in (0.01, 0.02, 0.03, 0.05, 0.07, 0.1):
        for distance in ("geodesic", "cosine"):
            name = f"sphere_t{t}_{distance}"
            entries[name] = f"{VIT},geometry=sphere,distance={distance},loss.temperature={t}"
    return Sweep(entries, ["recall@1", "map@r", *RADIUS])


def clips() -> Sweep:
    """Where the ranking leaves the cosine's: clip radius, its kind, and where the radius starts."""
    entries = {}
    for r in (2.3, 4.6, 9.2):
        for share in (0.125, 0.5):
            size = f"head.clip=soft,head.clip_radius={r},head.start_radius={r * share:.4g}"
            entries[f"soft_r{r}_s{share}"] = f"{VIT},loss.temperature=0.2,{size}"
    for r in (2.3, 9.2):
        size = f"head.clip=hard,head.clip_radius={r},head.start_radius={r / 2}"
        entries[f"hard_r{r}_s0.5"] = f"{VIT},loss.temperature=0.2,{size}"
    for geometry in ("poincare", "euclidean"):
        for start in (1.15, 4.6):
            free = f"geometry={geometry},head.clip=none,head.start_radius={start}"
            entries[f"free_{geometry}_s{start}"] = f"{VIT},loss.temperature=0.2,{free}"
    return Sweep(entries, ["recall@1", "map@r", *RADIUS, *DOUBT])


def uncertainty() -> Sweep:
    """Each component of Hyp-UML put in or taken out."""
    degraded = "augment.degrade_share=0.3"
    entries = {
        "vit": VIT,
        "vit_degraded": f"{VIT},{degraded}",
        "vit_doubt": f"{VIT},uncertainty=learned",
        "vit_doubt_degraded": f"{VIT},uncertainty=learned,{degraded}",
        "uml": UML,
        "uml_l0": f"{UML},loss.strength=0",
        "uml_l1": f"{UML},loss.strength=1",
        "uml_l4": f"{UML},loss.strength=4",
        "uml_undegraded": f"{UML},augment.degrade_share=0",
        "uml_norm": f"{UML},head.radius=norm",
        "uml_norm_hard": f"{UML},head.radius=norm,head.clip=hard",
        "uml_margin": f"{UML},loss=uncertainty_margin",
        "uml_euclidean": f"{UML},geometry=euclidean",
        "uml_sphere": f"{UML},geometry=sphere",
    }
    return Sweep(entries, ["recall@1", *DOUBT, "uncertainty_aurc", *DEGRADED, *RADIUS])


def hybrid() -> Sweep:
    """GHM over α and p, in two geometries."""
    entries = {}
    for g in ("poincare", "euclidean"):
        entries[f"{g}_a1"] = f"{VIT},geometry={g}"
        entries[f"{g}_a0"] = f"{VIT},geometry={g},distance=hybrid,hybrid.alpha=0"
        for p in (1, 2, 4):
            for a in (0.25, 0.5, 0.75):
                mixed = f"distance=hybrid,hybrid.alpha={a},hybrid.order={p}"
                entries[f"{g}_a{a}_p{p}"] = f"{VIT},geometry={g},{mixed}"
    return Sweep(entries, ["recall@1", "map@r", *DOUBT[:2]])


def hierarchy() -> Sweep:
    """HIER over its weight and the proxies' learning rate, on two base losses."""
    entries = {}
    for loss in ("pairwise_cross_entropy", "multi_similarity"):
        entries[loss] = f"{VIT},loss={loss}"
        for weight in (0.1, 0.5, 2):
            for rate in (5, 20):
                hier = f"regularizer=hier,hier.weight={weight},optimizer.hier_multiplier={rate}"
                entries[f"{loss}_w{weight}_m{rate}"] = f"{VIT},loss={loss},{hier}"
    return Sweep(entries, ["recall@1", "map@r", "agreement@subgroup", "lca_height", *TREES])


def coarse() -> Sweep:
    """Trained on subgroups, asked for the emoji: all positives against easy ones."""
    entries = {
        f"{loss}_{miner}": f"{VIT},loss={loss},miner={miner},data.train_level=subgroup"
        for loss in ("contrastive", "triplet", "margin", "multi_similarity")
        for miner in ("all", "easy_positive")
    }
    return Sweep(entries, ["recall@1", "map@r", "agreement@subgroup"])


def samples() -> Sweep:
    """As `coarse`, with as many images in a batch of fewer subgroups and more images of each."""
    entries = {}
    for m in (12, 24):
        batch = f"data.train_level=subgroup,batch.most_classes={144 // m},batch.samples_per_class={m}"
        for loss in ("contrastive", "margin", "multi_similarity"):
            for miner in ("all", "easy_positive"):
                entries[f"{loss}_{miner}_m{m}"] = f"{VIT},loss={loss},miner={miner},{batch}"
    return Sweep(entries, ["recall@1", "map@r", "agreement@subgroup"])


def together() -> Sweep:
    """Hyp-UML with each of the other parts, with two of them and with all three."""
    parts = {"eps": EASY, "hier": HIER, "ghm": GHM}
    entries = {"uml": UML}
    for chosen in ("eps", "hier", "ghm", "eps+hier", "eps+ghm", "hier+ghm", "eps+hier+ghm"):
        entries[f"uml+{chosen}"] = ",".join([UML, *(parts[part] for part in chosen.split("+"))])
    return Sweep(entries, ["recall@1", "map@r", *DOUBT[:2], "agreement@subgroup", *TREES])


def heads() -> Sweep:
    """What training does to the head's kernel: Hyp-UML, fine-tuned on small pictures."""
    small = f"{SMALL},optimizer.doubt_multiplier=2"
    kinds = {
        "trained": "head=trained",
        "slow": "head=trained,optimizer.head_multiplier=0.05",
        "orthogonal": "head.kernel=orthogonal,optimizer.head_multiplier=0.5",
        "low_rank": "head.kernel=residual,head.rank=16",
        "pulled": "head.kernel=residual,head.rank=0,optimizer.head_decay=20",
        "kept": "head=principal",
        "kept_centered": "head=principal,head.normalize=center",
        "kept_t0.05": "head=principal,loss.temperature=0.05",
        "discriminant": "head=discriminant",
    }
    entries = {name: f"configs/hyp_uml.py:{small},{words}" for name, words in kinds.items()}
    return Sweep(entries, PLAIN, seeds="0")


def methods() -> Sweep:
    """Each config as it is, fine-tuned on small pictures, with its head trained and fitted in closed form."""
    entries = {
        f"{method}_{head}": f"configs/{method}.py:{SMALL},head={head}"
        for method in ("hyp_vit", "eps", "ghm", "hier")
        for head in ("trained", "principal" if method == "hier" else "discriminant")
    }
    return Sweep(entries, PLAIN, seeds="0")


def spaces() -> Sweep:
    """The temperature of three geometries under a kept head, fine-tuned on small pictures."""
    return Sweep({name: f"{KEPT},{words}" for name, words in SPACES.items()}, PLAIN, seeds="0,1,2")


def spaces_shaped() -> Sweep:
    """What else a geometry has to tune, at the temperature that `spaces` chose with its first seed."""
    shapes = dict.fromkeys(("ball_t0.1", "flat_t0.05"), ("center", "half", "double"))
    shapes["sphere_t0.05"] = ("center", "geodesic")
    entries = {
        f"{name}_{shape}": f"{KEPT},{SPACES[name]},{SHAPES[shape]}" for name, more in shapes.items() for shape in more
    }
    entries["sphere_t0.1"] = f"{KEPT},geometry=sphere,distance=cosine,loss.temperature=0.1"
    return Sweep(entries, PLAIN, seeds="0")


def spaces_final() -> Sweep:
    """The test classes, once: each geometry as `spaces` and `spaces_shaped` chose it; Lorentz as the ball is."""
    entries = {name: f"{KEPT},{words}" for name, words in CHOSEN.items()}
    return Sweep(entries, PLAIN, split="test")


def spaces_together() -> Sweep:
    """An objective summed over two spaces, and each of them alone, under a kept head, fine-tuned on small pictures."""
    entries = {name: f"{KEPT},{SPACES[name]}" for name in ("ball_t0.1", "flat_t0.05", "sphere_t0.05")}
    for t in (0.05, 0.1):
        for name, several in {"flat": "poincare+euclidean", "sphere": "poincare+sphere"}.items():
            entries[f"ball+{name}_t{t}"] = f"{KEPT},geometry={several},loss.temperature={t}"
        entries[f"ball+sphere_w2_t{t}"] = f"{KEPT},geometry=poincare+sphere@2,loss.temperature={t}"
    return Sweep(entries, PLAIN, seeds="0,1,2")


def dimensions() -> Sweep:
    """Few dimensions in three geometries under a kept head, fine-tuned on small pictures."""
    best = ("ball_t0.1", "flat_t0.05", "sphere_t0.05")
    entries = {f"{name}_d{dim}": f"{KEPT},{SPACES[name]},head.dim={dim}" for dim in (4, 8, 16, 64) for name in best}
    return Sweep(entries, PLAIN, seeds="0,1,2")


def trees(dim: int = 32, teachers: Sequence[str] = ("alone", "levels", "nodes", "cones")) -> Sweep:
    """What a known tree teaches a free head of so many dimensions, in three geometries at three temperatures each."""
    entries = {}
    for name, (space, temperatures) in FREE.items():
        for t in temperatures:
            for teacher in teachers:
                if "cones" not in teacher or name == "ball":
                    words = f"{space},loss.temperature={t},head.dim={dim},{TEACHERS[teacher]}"
                    entries[f"{name}_t{t}_{teacher}"] = f"{VIT},{words}"
    return Sweep(entries, LEVELS, seeds="0,1")


def weak_trees() -> Sweep:
    """The same lessons with a smaller weight, at the temperature that is best without any."""
    entries = trees(teachers=[teacher for teacher in TEACHERS if teacher.startswith("weak")]).entries
    return Sweep({name: config for name, config in entries.items() if name.startswith(BEST)}, LEVELS, seeds="0,1")


def trees_tuned() -> Sweep:
    """The lessons over all levels under a kept head, fine-tuned on small pictures; the strong one in the ball alone."""
    runs = [
        (name, lesson) for name in ("ball_t0.1", "flat_t0.05", "sphere_t0.05") for lesson in ("alone", "weak_levels")
    ]
    runs.append(("ball_t0.1", "levels"))
    entries = {f"{name}_{lesson}": f"{KEPT},{SPACES[name]},{TEACHERS[lesson]}" for name, lesson in runs}
    return Sweep(entries, LEVELS, seeds="0,1,2")


def trees_final() -> Sweep:
    """The test classes, once: no lesson, a weak one and a strong one, at the temperature that is best without any."""
    every = trees(teachers=("alone", "weak_levels", "levels")).entries
    return Sweep({name: config for name, config in every.items() if name.startswith(BEST)}, LEVELS, split="test")


def final() -> Sweep:
    """The test classes, once: of each part the setting that the validation classes preferred, beside going without."""
    weak = f"{VIT},loss=multi_similarity"
    entries = {f"vit_{space}": f"{VIT},{words}" for space, words in TUNED.items()}
    entries |= {
        "vit": VIT,
        "vit_degraded": f"{VIT},augment.degrade_share=0.3",
        "vit_doubt": f"{VIT},uncertainty=learned",
        "uml": UML,
        "uml_norm": f"{UML},head.radius=norm",
        "vit+hier": f"{VIT},{HIER}",
        "vit+hier_w2": f"{VIT},{HIER},hier.weight=2",
        "ms": weak,
        "ms+hier_w0.1": f"{weak},{HIER},hier.weight=0.1",
        "vit+ghm": f"{VIT},{GHM}",
        "flat+ghm": f"{VIT},geometry=euclidean,distance=hybrid,hybrid.order=4,hybrid.alpha=0.75",
        "flat": f"{VIT},geometry=euclidean",
        "uml+all": ",".join([UML, EASY, HIER, GHM]),
    }
    figures = ["recall@1", "map@r", *DOUBT, "uncertainty_aurc", *DEGRADED, *RADIUS, "agreement@subgroup", *TREES]
    return Sweep(entries, figures, split="test")


def finetuned() -> Sweep:
    """The test classes, once: Hyp-UML, and the geometries with the settings that `geometries` chose, fine-tuned."""
    entries = {"uml": "configs/hyp_uml.py:head=trained"}
    entries |= {
        f"vit_{space}": f"configs/hyp_vit.py:head=trained,{TUNED[space]}" for space in ("flat", "sphere", "ball")
    }
    figures = ["recall@1", "map@r", *DOUBT, "uncertainty_aurc", *DEGRADED, *RADIUS]
    return Sweep(entries, figures, seeds="0,1,2", split="test")


SWEEPS = {
    "geometries": geometries,
    "clips": clips,
    "uncertainty": uncertainty,
    "hybrid": hybrid,
    "hierarchy": hierarchy,
    "coarse": coarse,
    "samples": samples,
    "together": together,
    "heads": heads,
    "methods": methods,
    "spaces": spaces,
    "spaces_shaped": spaces_shaped,
    "spaces_final": spaces_final,
    "spaces_together": spaces_together,
    "dimensions": dimensions,
    "trees": trees,
    "trees_8": partial(trees, 8, ("alone", "levels")),
    "trees_256": partial(trees, 256, ("alone", "levels")),
    "weak_trees": weak_trees,
    "trees_tuned": trees_tuned,
    "trees_final": trees_final,
    "final": final,
    "finetuned": finetuned,
}


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
    """Writes what each run measured, in the order of its seeds, and with which config and versions."""
    report = json.loads(Path(f"runs/evidence/{name}/comparison.json").read_text())
    runs = {}
    for entry, run in report["runs"].items():
        figures = {
            figure: [None if v is None else round(v, 4) for v in row["values"].values()]
            for figure, row in run["figures"].items()
        }
        runs[entry] = {"config": sweep.entries[entry], "figures": figures}
    made = manifest.environment()
    with_what = {key: made[key] for key in ("python", "hypjax", *manifest.PACKAGES, "device")}
    RESULTS.mkdir(exist_ok=True)
    text = json.dumps({"split": report["split"], "made_with": with_what, "runs": runs}, indent=1)
    flat = re.sub(r"\[[^\]]*\]", lambda values: " ".join(values[0].split()), text)  # a line for each figure
    (RESULTS / f"{name}.json").write_text(flat + "\n")


if __name__ == "__main__":
    main()
