"""In which geometry: its size, its temperature, how many dimensions."""

from __future__ import annotations

from sweeping.sweep import DOUBT, PLAIN, RADIUS, SMALL, VIT, Sweep

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
    """An objective summed over two spaces, beside each of them alone in `spaces`, under the same head."""
    several = {
        "ball+flat": "poincare+euclidean",
        "ball+sphere": "poincare+sphere",
        "ball+sphere_w2": "poincare+sphere@2",
    }
    entries = {f"{name}_t0.1": f"{KEPT},geometry={words},loss.temperature=0.1" for name, words in several.items()}
    return Sweep(entries, PLAIN, seeds="0,1,2")


def dimensions() -> Sweep:
    """Few dimensions in three geometries under a kept head, fine-tuned on small pictures."""
    best = ("ball_t0.1", "flat_t0.05", "sphere_t0.05")
    entries = {f"{name}_d{dim}": f"{KEPT},{SPACES[name]},head.dim={dim}" for dim in (4, 8, 16, 64) for name in best}
    return Sweep(entries, PLAIN, seeds="0,1,2")


SWEEPS = {
    "geometries": geometries,
    "clips": clips,
    "spaces": spaces,
    "spaces_shaped": spaces_shaped,
    "spaces_final": spaces_final,
    "spaces_together": spaces_together,
    "dimensions": dimensions,
}
