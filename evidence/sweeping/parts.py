"""Each part put in or taken out: uncertainty, the hybrid distance, HIER, easy positives, the head; all at the end."""

from __future__ import annotations

from sweeping.sweep import DOUBT, PLAIN, RADIUS, SMALL, TREES, UML, VIT, Sweep

TUNED = {  # of `geometries`, by Recall@1 on the validation classes with its first two seeds
    "ball": "geometry=poincare,loss.temperature=0.4,curvature=0.03",
    "flat": "geometry=euclidean,loss.temperature=0.4,head.clip_radius=4.6,head.start_radius=2.3",
    "sphere": "geometry=sphere,distance=cosine,loss.temperature=0.07",
}
HIER, EASY, GHM = "regularizer=hier", "miner=easy_positive", "distance=hybrid,hybrid.order=2"
KINDS = ("blur", "noise", "occlusion")
DEGRADED = [f"{kind}_{figure}" for figure in (*DOUBT[:2], "rank_correlation") for kind in KINDS]


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
    "uncertainty": uncertainty,
    "hybrid": hybrid,
    "hierarchy": hierarchy,
    "coarse": coarse,
    "samples": samples,
    "together": together,
    "heads": heads,
    "methods": methods,
    "final": final,
    "finetuned": finetuned,
}
