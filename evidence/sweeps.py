"""The comparisons behind `evidence/README.md`, by name: what is compared, with which seeds, by which figures.

    python evidence/sweeps.py geometries

calls `hypjax.compare` with the configs listed below, into runs/evidence/NAME; whatever else is said goes to it too. All
but `final` look at the validation classes alone. `--print` shows the configs and trains nothing.
"""

from __future__ import annotations

import sys
from typing import NamedTuple

from hypjax import cli, compare

VIT, UML = "configs/hyp_vit.py:frozen", "configs/hyp_uml.py:frozen"
RADIUS = ["direction_agreement", "direction_recall@1", "radius_mean", "radius_std", "saturated_share"]
KINDS = ("blur", "noise", "occlusion")
DOUBT = ["uncertainty_auroc", "uncertainty_auroc_nearest_distance", "uncertainty_auroc_distance_ratio"]
DEGRADED = [f"{kind}_{figure}" for figure in (*DOUBT[:2], "rank_correlation") for kind in KINDS]
TREES = [f"{tree}_tree_triplets@subgroup" for tree in ("linkage", "minimax")]


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
    seeds: str = "0,1"
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
            size = f"head.clip_radius={r},head.start_radius={r * share:.4g}"
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
    return Sweep(entries, ["recall@1", *DOUBT, "uncertainty_aurc", *DEGRADED, *RADIUS], seeds="0,1,2")


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
    return Sweep(entries, ["recall@1", "map@r", "agreement@subgroup"], seeds="0,1,2")


SWEEPS = {
    "geometries": geometries,
    "clips": clips,
    "uncertainty": uncertainty,
    "hybrid": hybrid,
    "hierarchy": hierarchy,
    "coarse": coarse,
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
    cli.run(lambda _: compare.main(["compare", *words, *entries]))


if __name__ == "__main__":
    main()
