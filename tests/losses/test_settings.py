"""Settings out of range are named, whatever they are given as; traced ones pass."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from hypjax import losses, mining
from hypjax.losses.hybrid import hybrid

LABELS = np.array([0, 0, 1, 1], np.int32)
PAIRS = jax.jit(losses.pairs)(LABELS)
ONES, U = jnp.ones((4, 4)), jnp.full(4, 0.5)

POSITIVE = {
    "pairwise_cross_entropy temperature": lambda v: losses.pairwise_cross_entropy(ONES, PAIRS, temperature=v),
    "nt_xent temperature": lambda v: losses.nt_xent(ONES, PAIRS, temperature=v),
    "supcon temperature": lambda v: losses.supcon(ONES, PAIRS, temperature=v),
    "multi_similarity alpha": lambda v: losses.multi_similarity(ONES, PAIRS, alpha=v),
    "multi_similarity beta": lambda v: losses.multi_similarity(ONES, PAIRS, beta=v),
    "proxy_anchor alpha": lambda v: losses.proxy_anchor(ONES, PAIRS, alpha=v),
    "proxy_nca scale": lambda v: losses.proxy_nca(ONES, PAIRS, scale=v),
    "soft_triple scale": lambda v: losses.soft_triple(ONES[:, :, None], PAIRS, scale=v),
    "soft_triple gamma": lambda v: losses.soft_triple(ONES[:, :, None], PAIRS, gamma=v),
    "hier temperature": lambda v: losses.hier(
        ONES, ONES, ONES, PAIRS, jax.random.key(0), temperature=v, neighbors=2, triplets_per_anchor=1
    ),
    "divergence temperature": lambda v: losses.divergence(ONES, ONES, temperature=v),
    "anchor_temperature temperature": lambda v: losses.anchor_temperature(U, v, strength=1.0),
    "radial_uncertainty c": lambda v: losses.radial_uncertainty(ONES, c=v),
    "distance_uncertainty clip_radius": lambda v: losses.distance_uncertainty(ONES, clip_radius=v),
    "distance_weighted_negative scale": lambda v: mining.distance_weighted_negative(ONES, PAIRS, scale=v),
}


@pytest.mark.parametrize("name", POSITIVE)
def test_what_is_not_positive_is_named(name):
    bad = [0, -1.5, np.float32(-1), jnp.array(0.0), np.nan, jnp.array(jnp.nan)]
    if name.endswith("temperature") and name.split()[0] not in ("hier", "divergence", "anchor_temperature"):
        bad += [np.array([1.0, 0.0, 1.0, 1.0]), jnp.array([1.0, 1.0, -2.0, 1.0])]
    for value in bad:
        with pytest.raises(ValueError, match=rf"{name.split()[1]} must be positive, got"):
            POSITIVE[name](value)


@pytest.mark.slow
def test_traced_settings_pass_and_so_do_arrays_within_jit():
    def run(v):
        for each in POSITIVE.values():
            each(v), each(jnp.array(0.5)), each(np.float64(0.5))

    jax.eval_shape(run, 0.5)


BY_ANCHOR = {
    "temperature": lambda v: losses.nt_xent(ONES, PAIRS, temperature=v),
    "margin": lambda v: losses.triplet(ONES, PAIRS, margin=v),
    "beta": lambda v: losses.margin(ONES, PAIRS, beta=v),
    "pos_margin": lambda v: losses.contrastive(ONES, PAIRS, pos_margin=v),
    "neg_margin": lambda v: losses.contrastive(ONES, PAIRS, neg_margin=v),
}


@pytest.mark.parametrize("name", BY_ANCHOR)
def test_settings_of_the_wrong_length_are_named(name):
    for value in jnp.ones(3), jnp.ones((4, 1)):
        with pytest.raises(ValueError, match=rf"{name} has shape \({value.shape[0]},.*one for each of the 4 anchors"):
            BY_ANCHOR[name](value)


PAIRED = {
    "distances": [
        lambda d: losses.triplet(d, PAIRS),
        lambda d: losses.margin(d, PAIRS),
        lambda d: losses.contrastive(d, PAIRS),
        lambda d: losses.supcon(d, PAIRS, temperature=1.0),
        lambda d: losses.pairwise_cross_entropy(d, PAIRS, temperature=1.0),
        lambda d: losses.failure_cross_entropy(U, d, PAIRS),
        lambda d: losses.hier(d, ONES, ONES, PAIRS, jax.random.key(0)),
        lambda d: mining.easy_positive(d, PAIRS),
        lambda d: mining.hard_positive(d, PAIRS),
        lambda d: mining.hard_negative(d, PAIRS),
        lambda d: mining.semihard_negative(d, PAIRS),
        lambda d: mining.distance_weighted_negative(d, PAIRS),
        lambda d: mining.multi_similarity_pairs(d, PAIRS),
    ],
    "similarities": [
        lambda d: losses.multi_similarity(d, PAIRS),
        lambda d: losses.proxy_anchor(d, PAIRS),
        lambda d: losses.proxy_nca(d, PAIRS),
        lambda d: losses.soft_triple(d[:, :, None], PAIRS),
    ],
}


@pytest.mark.parametrize("what", PAIRED)
def test_pairs_of_other_images_are_named(what, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)  # users have no shape checks
    for function in PAIRED[what]:
        with pytest.raises(ValueError, match=rf"{what} of shape \(4, 5.*pairs of shape \(4, 4\) do not go together"):
            function(jnp.ones((4, 5)))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: losses.divergence(ONES, ONES, kind="total_variation"), "'total_variation' is unknown; choose one of"),
        (lambda: hybrid(ONES, ONES, alpha=1.2), r"alpha must lie in \[0, 1\], .* got 1.2"),
        (lambda: hybrid(ONES, ONES, alpha=np.float32(-0.5)), r"alpha must lie in \[0, 1\], .* got -0.5"),
        (lambda: hybrid(ONES, ONES, alpha=0.5, order=0.5), "order must be finite and at least 1, .* got 0.5"),
        (lambda: hybrid(ONES, ONES, alpha=0.5, order=jnp.array(jnp.inf)), "order must be finite .* got inf"),
        (lambda: mining.distance_weighted_negative(ONES, PAIRS, dimension=1), "dimension=1 must be at least 2"),
        (lambda: losses.proxy_nca(ONES[:, :1], losses.pairs(LABELS, np.arange(1))), "1 proxies: every image needs one"),
        (lambda: losses.soft_triple_regularizer(ONES), r"centers have shape \(4, 4\); give \[p, k, d\]"),
    ],
)
def test_bad_arguments_are_named(call, message, monkeypatch):
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(ValueError, match=message):
        call()


def test_numbers_of_the_hybrid_may_be_arrays_within_jit():
    a, b = jnp.full((2, 2), 3.0), jnp.full((2, 2), 4.0)
    mixed = jax.jit(lambda a, b: hybrid(a, b, alpha=jnp.array(0.5), order=jnp.array(2.0)))(a, b)
    np.testing.assert_allclose(mixed, np.sqrt(12.5), rtol=1e-6)
    assert hybrid(a, b, alpha=jnp.array(1.0)) is a
    assert hybrid(a, b, alpha=0) is b
