"""Every setting of a run, with its default, unit and range.

A config file starts from `default_settings`, changes what its experiment is about and returns what
`hypjax.config.words` makes of it and the words behind the colon. Each single setting can be overridden as
`--config.KEY=VALUE`. Programs read settings at start-up only.
"""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict

FROZEN = ("encoder/stem/", "encoder/block_[0-4]/", "encoder/block_[0-9]+/depthwise/kernel")


ACCUMULATED = "accumulat"  # part of what others call a setting that there is none of
ENCODER_SIZES = """--config.encoder.sizes='{"depths": (3, 3, 9, 3)}'"""  # as a flag sets them


def refuse_accumulation(key: str) -> str:
    """Why gradients of smaller batches are not added up, for whoever asks for a setting that does so."""
    return (
        f"there is no setting {key!r}: these losses compare all images of a batch, so that gradients of its parts do "
        "not add up to its own; batch.slices=N gives that, in an N-th of the encoder's memory"
    )


def holds_features(config: ConfigDict) -> bool:
    """Whether the data are rows of features, so that there is neither an image nor an encoder."""
    return config.data.name == "features"


def learns_points(config: ConfigDict) -> bool:
    """Whether the objective learns points among the embeddings, which a head that is fitted anew would move away."""
    return config.regularizer != "none" or config.loss.proxies_as == "points"


def default_settings() -> ConfigDict:
    """The settings that all experiments share; units and ranges stand beside each."""
    return ConfigDict(_run() | _data() | _model() | _space() | _objective() | _optimizer())


def _run() -> dict[str, Any]:
    """What a run is called, how long it takes and where it leaves traces."""
    return {
        "name": "run",  # the workdir defaults to runs/<name>
        "seed": 0,  # weights, batches and augmentation follow from (seed, step)
        "steps": 420,
        "init_from": "",  # a workdir: start from that run's state, where it fits
        "patience": 0,  # validations without a better figure (checkpoint.best) after which training ends; 0: never
        "most_epochs": 0.0,  # steps are cut short where they would be more times through the images; 0: never
        "evaluation": {
            "every": 210,  # steps, on the validation classes; 0: at the start and the end alone
            "state": "last",  # last | best: whose test classes are scored, and which evaluate, embed and search take
            "test": True,  # score the test classes at the end; False keeps them untouched, for a search
            "batch": 128,
            "ks": (1, 2, 4, 8),
            # What can be left out, as it costs: k-means, the trees over the classes, and recall of plainer searches
            "figures": ("nmi", "trees", "direction", "body", "body_before"),
            "queries": 0,  # at most so many images, evenly spaced, search all others; NMI is of them; 0: all
            "degraded_queries": 128,  # images whose response to blur, noise and occlusion is measured; 0: none
            "degraded_test_queries": 384,  # the same at the end, on the test classes
            "calibration": 0.3,  # share of the test classes by whose answers others are told how sure they are; 0: none
        },
        "checkpoint": {
            "every": 105,  # steps; 0: at the end alone
            "minutes": 10.0,  # and whenever so many have gone by, on the clock of process 0; 0: never
            "keep": 2,
            "best": "recall@1",  # validation figure by which the best state is kept, too; "" for none
        },
        "log": {"every": 10, "tensorboard": False, "wandb": False},
        "dry": {  # build and compile everything, say what it takes, train nothing
            "run": False,  # the words behind the colon: `dry`
            "devices": 0,  # to compile for, which asks for a dry run too; 0: those there are
            "topology": "",  # a TPU slice to compile for, such as v5e:16x16 or v4:2x2x4; "" for the devices there are
            "cycles": False,  # of a TPU's step as its compiler counts them, which takes many times as long
        },
    }


def _data() -> dict[str, Any]:
    """Images, splits, batches and random views."""
    return {
        "data": {
            "name": "emoji",  # emoji | cub | cars | sop | in_shop | folder | features | tfds:<data set>
            "dir": "",  # where all but emoji find their files; for folder also a listing, .csv or .json; for
            # features the file, .npz, .npy or .parquet
            "skip_corrupt": False,  # count and report undecodable images instead of stopping
            "fractions": (0.4, 0.1, 0.5),  # of classes: train, validation, test, where no split is given
            "validation": 0.1,  # share of the training classes kept for validation, where a split is given; 0: none
            "split_seed": 0,
            "shorter_side": 512,  # pixels that larger images are shrunk to as they are read; 0 for none
            "tree": "",  # a .csv or .json file of lines of child and parent; "" for the hierarchy that the data have
            "train_level": "",  # train on labels of this level of the hierarchy; "" for the classes themselves
            "protocol": "leave_one_out",  # leave_one_out | query_gallery (first image of a class asks)
            "image_size": 64,  # pixels, in training
            "eval_image_size": 96,  # pixels, in evaluation: all there are
            "eval_resize": 0,  # pixels of the shorter side before the central square is cut out; 0: eval_image_size
            "eval_fit": "crop",  # crop | squash, both sides to eval_resize, whatever they were
            "interpolation": "bicubic",  # nearest | bilinear | bicubic | lanczos | box | hamming, of all resizing
            "cache_gib": 2.0,  # decoded images are kept in memory up to this size, by all workers together
            "workers": -1,  # processes that decode; -1: one a core, none for emoji or few images; 0: threads
        },
        "batch": {
            "classes": 0,  # of a batch; 0: most_classes, or all there are where there are fewer
            "most_classes": 48,
            "samples_per_class": 3,
            "slices": 1,  # that the encoder takes one after another, in memory for one of them; losses are the same
        },
        "augment": {
            "scale": (0.5, 1.0),  # share of the area, RandomResizedCrop
            "ratio": (0.75, 4 / 3),  # its width : height
            "flip": False,  # arrows and hands point somewhere
            "rotation": 10.0,  # degrees, at most
            "jitter": 0.3,  # saturation, contrast, brightness: factors in 1 ± jitter
            "tint": 0.2,  # coloring of white, at most, in [0, 1]
            "degrade_share": 0.0,  # share of images blurred, noised or occluded at a random level
        },
    }


def _model() -> dict[str, Any]:
    """Encoder and head."""
    return {
        "encoder": {
            "name": "efficientnet_lite0",  # none where the data are features
            "weights": "packaged",  # packaged | a file, or its address | hf:OWNER/NAME | "" for a random start
            "dtype": "float32",  # or bfloat16, inside the encoder only
            "train_batch_norm": False,  # else BatchNorm keeps its pretrained statistics
            "blocks": "unrolled",  # unrolled | scanned (transformers), compiled sooner | remade, in less memory
            "sizes": ConfigDict({}, allow_dotted_keys=False),  # width, depth, heads, patch, stages, ...
            # What the weights expect of an image, where it is not what the encoder's published ones do: of a pixel/255,
            # pixels of the view and of the shorter side before it is cut out, as data.eval_fit and data.interpolation.
            # encoder=hf:OWNER/NAME brings them.
            "preprocessing": {"mean": (), "std": (), "size": 0, "resize": 0, "fit": "", "interpolation": ""},
            "lora_rank": 0,  # of adapters of the kernels, which are trained in place of the encoder's weights; 0: none
            "lora_alpha": 16.0,  # > 0; their product is multiplied by lora_alpha / lora_rank
            "frozen_dtype": "float32",  # or bfloat16, of the encoder's weights that are not trained, as they are kept
            # Regular expressions on parameter paths, matched from their start. The early layers and the depthwise
            # kernels cost most of the backward pass of the default encoder and learn least.
            "frozen": FROZEN,
        },
        "features": {  # of a frozen encoder, computed once
            "cached": False,  # the words behind the colon: `frozen`
            "dir": "runs/features",
            "views": 4,  # of each training image: as it is, then random views, degraded by augment.degrade_share
        },
        "head": {
            "dim": 256,
            "normalize": "none",  # none | layer (of a sample) | center | standardize (each feature over the data)
            "init": "pca",  # orthogonal (random) | pca: the directions that the kernel starts with
            "kernel": "trained",  # kept | trained | orthogonal | residual: what training does to them
            "rank": 16,  # of the residual; 0: full
            "refit": False,  # fit the kernel to the trained features' discriminant directions at the end
            "shrinkage": 0.3,  # > 0, of the scatter within classes that these are found by
            "dropout": 0.2,  # of the encoder's features
            "clip": "soft",  # soft | hard | none
            "clip_radius": 2.3,  # of the tangent vector at the origin
            "start_radius": 1.15,  # mean radius at the first step, well inside the clip
            "radius": "norm",  # norm: the length of the linear map's output | learned: 1 - doubt sets it
            "radius_range": (0.7, 0.9),  # shares of clip_radius between which a learned radius lies
            "gradient": "euclidean",  # that reaches it from the points: euclidean | riemannian
            "doubt_gradient": 0.5,  # share of the doubt's gradient that reaches the encoder, in [0, 1]
            "doubt_dropout": 0.5,  # of the features that the doubt reads
        },
    }


def _space() -> dict[str, Any]:
    """Where embeddings live, how far apart they are and how uncertain."""
    return {
        "geometry": "poincare",  # poincare | lorentz | euclidean | sphere; several by a +, each with its dimensions
        # of head.dim, else as many as the others, and its weight, else 1: poincare+sphere, poincare:192+sphere:64@0.5
        "curvature": 0.1,  # c > 0; the space has curvature -c
        "learn_curvature": False,
        "curvature_range": (0.01, 2.0),  # of a learned one
        "distance": "geodesic",  # geodesic | hybrid | cosine (sphere only)
        "hybrid": {
            "alpha": 0.5,  # 1: all geometric, 0: all probabilistic
            "order": 1.0,  # p >= 1 of (alpha d_geo^p + (1 - alpha) d_prob^p)^(1/p)
            "divergence": "hellinger",  # hellinger | jensen_shannon | jeffreys | bhattacharyya | kl
            "temperature": 1.0,  # of the softmax over coordinates
        },
        "uncertainty": "radius",  # radius | distance | learned
    }


def _objective() -> dict[str, Any]:
    """What training minimizes."""
    return {
        "miner": "all",  # all | easy_positive | ...; two by a +: easy_positive+semihard_negative
        "regularizer": "none",  # none | hier | nodes | cones; several by a +: nodes+cones
        "loss": {
            "name": "uncertainty_contrastive",
            "temperature": 0.1,
            "strength": 1.0,  # of the uncertainty, in both uncertainty-aware losses
            "center": 0.5,  # the uncertainty at which the temperature is as set
            "margin": 0.2,
            "beta": 1.2,
            "learn_beta": False,
            "form": "triplet",  # of uncertainty_margin: triplet | margin
            "contrastive": {"pos_margin": 0.0, "neg_margin": 1.0},
            "multi_similarity": {"alpha": 2.0, "beta": 50.0, "base": 0.5},
            "proxy_anchor": {"margin": 0.1, "alpha": 32.0},
            "proxy_nca": {"scale": 8.0},
            "soft_triple": {"scale": 20.0, "gamma": 0.1, "margin": 0.01, "centers": 2},
            "proxies_as": "directions",  # of losses with proxies: directions, by the cosine | points, by the distance
            "failure_weight": 1.0,  # of the loss that teaches a learned doubt to foretell failures
        },
        "hier": {
            "weight": 0.5,
            "proxies": 128,
            "proxies_as": "points",  # points, moved on their manifold | tangent vectors, clipped and under AdamW
            "margin": 0.1,
            "neighbors": 20,
            "triplets": 50,  # of each anchor
            "temperature": 0.1,
            "anchor": 0.0,  # weight of the pull of the first proxies to the known ancestors; 0: none is known
        },
        "tree": {"decay": 0.0},  # weight of a level's labels in the loss, relative to the level below; 0: classes alone
        "nodes": {  # a proxy, moved as a point on its manifold, for every node of the tree
            "weight": 1.0,
            "decay": 1.0,  # of a level, relative to the one below
            "temperature": 0.1,  # of the softmax over a level's nodes, in units of the distance
        },
        "cones": {  # of the same proxies
            "weight": 1.0,
            "k": 0.1,  # K > 0 of the cones' width
            "margin": 0.1,  # radians by which what is no descendant is to stay outside; 0: it may be inside
        },
        "memory": {"size": 0},  # images of earlier batches to compare with; 0 is off
    }


def _optimizer() -> dict[str, Any]:
    """How training minimizes it."""
    return {
        "optimizer": {
            "learning_rate": 5e-4,
            "head_multiplier": 2.0,  # of the learning rate, for the head
            "doubt_multiplier": 0.0,  # for a learned uncertainty; 0: head_multiplier
            "proxy_multiplier": 20.0,  # for class proxies and a learned beta
            "hier_multiplier": 20.0,  # for proxies of HIER and of the nodes of a tree
            "curvature_multiplier": 20.0,  # for a learned curvature, on the logarithm's scale
            "warmup": 0.05,  # share of the steps
            "schedule": "cosine",  # cosine | constant
            "decay_every": 0.0,  # share of the steps after which, each time, the rate falls by decay_factor
            "decay_factor": 1.0,  # in (0, 1]
            "weight_decay": 0.01,
            "head_decay": 0.0,  # of the head; of a residual it pulls the kernel to its start; 0: weight_decay
            "clip_norm": 3.0,  # of the global gradient
            "ema": 0.98,  # decay of averaged weights that are evaluated; 0 is off
        },
    }
