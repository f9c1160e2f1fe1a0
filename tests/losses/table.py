"""Every loss of pairs with settings by anchor, its oracle, and every miner: what a test asks of them all."""

import functools
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np

from hypjax import losses, mining
from tests.losses import loops


def _tau(u):
    return losses.anchor_temperature(u, 0.4, strength=0.8)


def _alpha(u):
    return losses.anchor_margin(u, 0.5, strength=0.6, detach=False)


def _tau_loop(u):
    return 0.4 * np.exp(0.8 * (u - 0.5))


def _alpha_loop(u):
    return 0.5 * (1 - 0.6 * u)


def _apertures(m):
    return np.full(m, 0.7)  # the same, wherever a reference stands


LOSSES = {
    "contrastive": lambda d, p, u: losses.contrastive(d, p, pos_margin=0.3 + u / 5, neg_margin=1.5 + u),
    "triplet": lambda d, p, u: losses.triplet(d, p, margin=_alpha(u)),
    "margin": lambda d, p, u: losses.margin(d, p, margin=_alpha(u), beta=1 + u / 3),
    "multi_similarity": lambda d, p, u: losses.multi_similarity(-d, p, alpha=2.0, beta=5.0, base=-1.5),
    "nt_xent": lambda d, p, u: losses.nt_xent(d, p, temperature=_tau(u)),
    "supcon": lambda d, p, u: losses.supcon(d, p, temperature=_tau(u)),
    "pairwise_cross_entropy": lambda d, p, u: losses.pairwise_cross_entropy(d, p, temperature=_tau(u)),
    "entailment": lambda d, p, u: losses.entailment(d, jnp.asarray(_apertures(d.shape[1]), d.dtype), p, margin=0.6),
    "failure_cross_entropy": lambda d, p, u: losses.failure_cross_entropy(u, d, p, prior=u * u, level=1 - u),
}
LOOPS = {
    "contrastive": lambda d, k, u: loops.contrastive(d, k, 0.3 + u / 5, 1.5 + u),
    "triplet": lambda d, k, u: loops.triplet(d, k, _alpha_loop(u)),
    "margin": lambda d, k, u: loops.margin(d, k, _alpha_loop(u), 1 + u / 3),
    "multi_similarity": lambda d, k, u: loops.multi_similarity(-d, k, 2.0, 5.0, -1.5),
    "nt_xent": lambda d, k, u: loops.nt_xent(d, k, _tau_loop(u)),
    "supcon": lambda d, k, u: loops.supcon(d, k, _tau_loop(u)),
    "pairwise_cross_entropy": lambda d, k, u: loops.pairwise_cross_entropy(d, k, _tau_loop(u)),
    "entailment": lambda d, k, u: loops.entailment(d, k, _apertures(d.shape[1]), 0.6),
    "failure_cross_entropy": lambda d, k, u: loops.failure_cross_entropy(u, d, k, u * u, 1 - u),
}


pairs = jax.jit(losses.pairs)
"""One program, where each of its steps would be one."""


def none(distances, pairs):
    return pairs


def chain(*miners):
    return lambda distances, pairs: functools.reduce(lambda pairs, miner: miner(distances, pairs), miners, pairs)


MINERS = {
    "none": none,
    "easy_positive": mining.easy_positive,
    "hard_positive": mining.hard_positive,
    "hard_negative": mining.hard_negative,
    "semihard_negative": mining.semihard_negative,
    "distance_weighted_negative": mining.distance_weighted_negative,
    "measured scale": functools.partial(mining.distance_weighted_negative, scale=None),
    "multi_similarity_pairs": mining.multi_similarity_pairs,
    "easy and semi-hard": chain(mining.easy_positive, mining.semihard_negative),
    "easy and multi-similarity": chain(mining.easy_positive, mining.multi_similarity_pairs),
    "easy and hard": chain(mining.easy_positive, mining.hard_negative),
}


def every_miner(distances, pairs):
    return {name: miner(distances, pairs) for name, miner in MINERS.items()}


def values(distances, pairs, u, names=tuple(LOSSES)):
    return jnp.stack([losses.mean(LOSSES[name](distances, pairs, u)) for name in names])


def with_gradients(function, *arguments):
    """What a function [k] of arrays is, and the gradient of each of the k by each array, in one program."""
    value, pull = jax.vjp(function, *arguments)
    return value, jax.vmap(pull)(jnp.eye(len(value), dtype=value.dtype))


OTHERS = tuple(name for name in LOSSES if name != "triplet")


@functools.partial(jax.jit, static_argnames="names")
def _run(distances, pairs, u, names):
    return with_gradients(lambda distances, u: values(distances, pairs, u, names), distances, u)


def run(distances, pairs, u):
    """Values and gradients by distances and u of all losses, a dict; only triplets care how pairs were chosen."""
    if not pairs.positive.dtype == pairs.negative.dtype == bool:  # lest every miner be a program of its own
        positive, negative = (jnp.asarray(np.asarray(w, distances.dtype)) for w in (pairs.positive, pairs.negative))
        pairs = replace(pairs, positive=positive, negative=negative)
    plain = replace(pairs, one_positive=False, one_negative=False)
    out = {}
    for names, given in ((OTHERS, plain), (("triplet",), pairs)):
        value, (by_distances, by_u) = _run(distances, given, u, names)
        out |= {name: (value[i], by_distances[i], by_u[i]) for i, name in enumerate(names)}
    return out
