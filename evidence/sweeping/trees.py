"""What a known tree teaches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from sweeping.spaces import KEPT
from sweeping.sweep import RADIUS, SMALL, TREES, VIT, Sweep

TEACHERS = {  # by what a tree teaches
    "alone": "regularizer=none",
    "levels": "regularizer=none,tree.decay=0.5",
    "nodes": "regularizer=nodes",
    "cones": "regularizer=nodes+cones",
    "weak_levels": "regularizer=none,tree.decay=0.15",
    "weak_nodes": "regularizer=nodes,nodes.weight=0.1",
    "weak_cones": "regularizer=nodes+cones,nodes.weight=0.1,cones.weight=0.1",
    "hier": "regularizer=hier",  # by no known tree
    "anchored": "regularizer=hier,hier.anchor=0.1",
}
BEST = ("ball_t0.2_", "flat_t0.2_", "sphere_t0.03_")  # of `trees`, alone, by Recall@1 on the validation classes
FREE = {  # what a free head is tuned over
    "ball": ("geometry=poincare", (0.1, 0.2, 0.4)),
    "flat": ("geometry=euclidean", (0.1, 0.2, 0.4)),
    "sphere": ("geometry=sphere,distance=cosine", (0.03, 0.07, 0.15)),
}
WARMER = {  # than those, of which the highest were the best with few dimensions
    "ball": ("geometry=poincare", (0.8, 1.6)),
    "flat": ("geometry=euclidean", (0.8, 1.6)),
    "sphere": ("geometry=sphere,distance=cosine", (0.3, 0.6)),
}
MANY = {  # of `trees_256`, alone, by Recall@1 on the validation classes
    "ball": ("geometry=poincare", (0.2,)),
    "flat": ("geometry=euclidean", (0.2,)),
    "sphere": ("geometry=sphere,distance=cosine", (0.07,)),
}
TUNED = "configs/hyp_vit.py:" + SMALL + ",head=trained"  # a free head and the encoder below it
TUNED_FREE = {  # what they are tuned over, by dimensions: three around the best of frozen features, more at an end
    8: {
        "ball": ("geometry=poincare", (0.2, 0.4, 0.8, 1.6)),
        "flat": ("geometry=euclidean", (0.2, 0.4, 0.8)),
        "sphere": ("geometry=sphere,distance=cosine", (0.007, 0.015, 0.03, 0.07, 0.15, 0.3)),
    },
    32: FREE | {"ball": ("geometry=poincare", (0.1, 0.2, 0.4, 0.8))},
    256: FREE
    | {
        "ball": ("geometry=poincare", (0.1, 0.2, 0.4, 0.8)),
        "flat": ("geometry=euclidean", (0.05, 0.1, 0.2, 0.4)),
    },
}
TUNED_FEW = {  # what a kept head of few dimensions is tuned over: three around the best of 256, more at an end
    "ball": (0.05, 0.1, 0.2, 0.4),
    "flat": (0.03, 0.05, 0.1, 0.2),
    "sphere": (0.03, 0.05, 0.07),
}
CHOSEN_FEW = {"ball": 0.2, "flat": 0.1, "sphere": 0.05}  # of `trees_tuned_few`, by Recall@1 on the validation classes
CHOSEN_MANY = {"ball": 0.1, "flat": 0.05, "sphere": 0.05}  # with 256 dimensions, of `spaces`
HELD = "configs/hyp_vit.py:frozen,head=principal,head.kernel=residual"  # principal directions and a learned residual
HELD_RANKS = {8: (2, 8), 32: (8, 32), 256: (16, 64)}  # of that residual, by dimensions
HELD_OVER = {  # what each is tuned over
    "ball": ("geometry=poincare", (0.05, 0.1, 0.2, 0.4, 0.8)),
    "flat": ("geometry=euclidean", (0.025, 0.05, 0.1, 0.2, 0.4, 0.8)),
    "sphere": ("geometry=sphere,distance=cosine", (0.015, 0.03, 0.07, 0.15, 0.3)),
}
CHOSEN_HELD = (  # of `trees_held`, by Recall@1 on the validation classes
    *("d8_r8_ball_t0.1_", "d8_r8_flat_t0.05_", "d8_r8_sphere_t0.15_"),
    *("d32_r32_ball_t0.1_", "d32_r32_flat_t0.05_", "d32_r32_sphere_t0.03_"),
    *("d256_r64_ball_t0.2_", "d256_r64_flat_t0.05_", "d256_r64_sphere_t0.03_"),
)
CHOSEN_FREE = {  # of `trees_tuned_free`, by Recall@1 on the validation classes
    8: ("d8_ball_t0.4_", "d8_flat_t0.4_", "d8_sphere_t0.015_"),
    32: ("d32_ball_t0.4_", "d32_flat_t0.2_", "d32_sphere_t0.07_"),
    256: ("d256_ball_t0.4_", "d256_flat_t0.1_", "d256_sphere_t0.07_"),
}
FEW = {  # of `trees_8` and `trees_8_warmer`, alone, by Recall@1 on the validation classes
    "ball": ("geometry=poincare", (0.8,)),
    "flat": ("geometry=euclidean", (0.4,)),
    "sphere": ("geometry=sphere,distance=cosine", (0.3,)),
}
LEVELS = [
    "recall@1",
    "map@r",
    *(f"{figure}@{level}" for level in ("subgroup", "group") for figure in ("recall@1", "agreement")),
    "nearest_lca_height",
    *(f"radius_order@{level}" for level in ("subgroup", "group")),
    *(f"radius_order_of_images@{level}" for level in ("class", "subgroup", "group")),
    "radius_order_of_groups@group",
    *TREES,
    *RADIUS,
]
ANSWERS = [  # under a guarantee, of the class or, where that is not sure enough, of a level above it
    f"{figure}@{risk}"
    for risk in (0.1, 0.2)
    for figure in (
        "level_coverage_by_image",
        "level_error_by_image",
        *(f"level_share_{level}" for level in ("class", "subgroup", "group")),
    )
]


VAGUE = [f"{kind}_rank_correlation" for kind in ("blur", "noise", "occlusion")]  # of damage and u, 0 far out


def trees(
    dim: int = 32,
    teachers: Sequence[str] = ("alone", "levels", "nodes", "cones"),
    free: Mapping[str, tuple[str, Sequence[float]]] = FREE,
    base: str = VIT,
) -> Sweep:
    """What a known tree teaches a free head of so many dimensions, in three geometries at some temperatures each."""
    entries = {}
    for name, (space, temperatures) in free.items():
        for t in temperatures:
            for teacher in teachers:
                if name == "ball" or not {"cones", "hier", "anchored"}.intersection(teacher.split("_")):
                    words = f"{space},loss.temperature={t},head.dim={dim},{TEACHERS[teacher]}"
                    entries[f"{name}_t{t}_{teacher}"] = f"{base},{words}"
    return Sweep(entries, LEVELS, seeds="0,1")


def weak_trees() -> Sweep:
    """The same lessons with a smaller weight, at the temperature that is best without any."""
    entries = trees(teachers=[teacher for teacher in TEACHERS if teacher.startswith("weak")]).entries
    return Sweep({name: config for name, config in entries.items() if name.startswith(BEST)}, LEVELS, seeds="0,1")


def _kept(space: str, temperature: float, lesson: str, dim: int | None = None) -> dict[str, str]:
    """A kept head of 256 dimensions or so many, fine-tuned on small pictures, by name."""
    where = KEPT if space == "ball" else f"{KEPT},{FREE[space][0]}"
    name, width = (
        (f"{space}_t{temperature}", "") if dim is None else (f"{space}_t{temperature}_d{dim}", f"head.dim={dim},")
    )
    return {f"{name}_{lesson}": f"{where},loss.temperature={temperature},{width}{TEACHERS[lesson]}"}


def trees_tuned() -> Sweep:
    """The lessons over all levels under a kept head, fine-tuned on small pictures; the strong one in the ball alone."""
    entries = {}
    for space, t in CHOSEN_MANY.items():
        for lesson in ("alone", "weak_levels", *(["levels"] if space == "ball" else [])):
            entries |= _kept(space, t, lesson)
    return Sweep(entries, LEVELS, seeds="0,1,2")


def trees_tuned_final() -> Sweep:
    """The test classes, once: all lessons but strong nodes and cones, where vague images lie, what is answered."""
    entries = {}
    for space, t in CHOSEN_MANY.items():
        for lesson in ("alone", "weak_levels", "levels", "weak_nodes", *(["weak_cones"] if space == "ball" else [])):
            entries |= _kept(space, t, lesson)
    chance = [f"radius_order_by_chance@{level}" for level in ("subgroup", "group")]
    return Sweep(entries, [*LEVELS, *ANSWERS, *chance, *VAGUE], split="test")


def trees_8_final() -> Sweep:
    """The test classes, once: few dimensions, no lesson and a strong one, each geometry at its best temperature."""
    entries = trees(8, ("alone", "levels"), FEW).entries
    return Sweep(entries, [*LEVELS, *ANSWERS, *VAGUE], split="test")


def trees_256_final() -> Sweep:
    """The test classes, once: many dimensions, as `trees_8_final`."""
    entries = trees(256, ("alone", "weak_levels", "levels"), MANY).entries
    return Sweep(entries, [*LEVELS, *ANSWERS, *VAGUE], split="test")


def trees_tuned_few() -> Sweep:
    """The temperature of three geometries under a kept head of few dimensions, fine-tuned; no lesson."""
    entries = {}
    for dim in (8, 32):
        for space, temperatures in TUNED_FEW.items():
            for t in temperatures:
                entries |= _kept(space, t, "alone", dim)
    return Sweep(entries, LEVELS, seeds="0")


def trees_tuned_few_final() -> Sweep:
    """The test classes, once: a kept head of few dimensions, fine-tuned, each geometry at its best temperature."""
    entries = {}
    for dim in (8, 32):
        for space, t in CHOSEN_FEW.items():
            for lesson in ("alone", "weak_levels"):
                entries |= _kept(space, t, lesson, dim)
    return Sweep(entries, [*LEVELS, *ANSWERS, *VAGUE], split="test")


def trees_tuned_free(teachers: Sequence[str] = ("alone",)) -> Sweep:
    """The temperature of three geometries under a free head, with the encoder below it fine-tuned; no lesson."""
    entries = {}
    for dim, free in TUNED_FREE.items():
        every = trees(dim, teachers, free, TUNED).entries
        entries |= {f"d{dim}_{name}": config for name, config in every.items()}
    return Sweep(entries, LEVELS, seeds="0")


def trees_tuned_free_final() -> Sweep:
    """The test classes, once: no lesson and a weak one, each geometry at its best; of 32 dimensions more lessons."""
    few, more = ("alone", "weak_levels"), ("alone", "weak_levels", "weak_nodes", "weak_cones")
    every = {dim: trees_tuned_free(more if dim == 32 else few).entries for dim in CHOSEN_FREE}
    entries = {n: config for dim, best in CHOSEN_FREE.items() for n, config in every[dim].items() if n.startswith(best)}
    return Sweep(entries, [*LEVELS, *ANSWERS, *VAGUE], split="test")


def trees_held(teachers: Sequence[str] = ("alone",)) -> Sweep:
    """Rank and temperature under a head that keeps its principal directions, features frozen; no lesson."""
    entries = {}
    for dim, ranks in HELD_RANKS.items():
        for rank in ranks:
            every = trees(dim, teachers, HELD_OVER, f"{HELD},head.rank={rank}").entries
            entries |= {f"d{dim}_r{rank}_{name}": config for name, config in every.items()}
    return Sweep(entries, LEVELS, seeds="0")


def trees_held_final() -> Sweep:
    """The test classes, once: no lesson, a weak one and a strong one, each geometry at its best."""
    every = trees_held(("alone", "weak_levels", "levels")).entries
    entries = {name: config for name, config in every.items() if name.startswith(CHOSEN_HELD)}
    return Sweep(entries, [*LEVELS, *ANSWERS, *VAGUE], split="test")


def trees_final() -> Sweep:
    """The test classes, once: all lessons, at the temperature that is best without any."""
    every = trees(teachers=tuple(TEACHERS)).entries
    entries = {name: config for name, config in every.items() if name.startswith(BEST)}
    return Sweep(entries, [*LEVELS, *ANSWERS, *VAGUE], split="test")


SWEEPS = {
    "trees": trees,
    "trees_8": partial(trees, 8, ("alone", "levels")),
    "trees_8_warmer": partial(trees, 8, ("alone", "weak_levels", "levels"), WARMER),
    "trees_8_final": trees_8_final,
    "trees_256_final": trees_256_final,
    "trees_tuned_few": trees_tuned_few,
    "trees_tuned_few_final": trees_tuned_few_final,
    "trees_tuned_free": trees_tuned_free,
    "trees_tuned_free_final": trees_tuned_free_final,
    "trees_held": trees_held,
    "trees_held_final": trees_held_final,
    "trees_256": partial(trees, 256, ("alone", "levels")),
    "weak_trees": weak_trees,
    "trees_tuned": trees_tuned,
    "trees_tuned_final": trees_tuned_final,
    "trees_final": trees_final,
}
