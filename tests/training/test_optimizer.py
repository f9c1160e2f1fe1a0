import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hypjax.data.errors import UsageError
from hypjax.geometry import Poincare
from hypjax.training.optimizer import create_optimizer, learning_rate_schedule


def test_schedule_rises_to_the_peak_and_falls_to_zero():
    rate = learning_rate_schedule(1e-2, steps=100, warmup=0.1, schedule="cosine")
    values = np.array([rate(step) for step in range(101)])
    assert values[0] == pytest.approx(1e-2 / 11)
    assert values.argmax() == 10
    assert values[10] == pytest.approx(1e-2)
    assert values[100] == pytest.approx(0, abs=1e-9)
    assert (np.diff(values[10:]) < 0).all()


def test_constant_schedule_without_warmup_is_constant():
    rate = learning_rate_schedule(3e-4, steps=7, warmup=0.0, schedule="constant")
    np.testing.assert_allclose([rate(step) for step in range(8)], 3e-4, rtol=1e-6)


@pytest.mark.parametrize("bad", [{"schedule": "linear"}, {"warmup": 1.0}, {"warmup": -0.1}])
def test_schedule_refuses(bad):
    with pytest.raises(UsageError, match=str(next(iter(bad.values())))):
        learning_rate_schedule(1.0, **{"steps": 10, "warmup": 0.1, "schedule": "cosine", **bad})


def updates_of(params, grads, **options):
    settings = {"head_multiplier": 1.0, "weight_decay": 0.0, "clip_norm": 0.0, **options}
    optimizer = create_optimizer(optax.constant_schedule(0.1), **settings)
    return optimizer.update(grads, optimizer.init(params), params)[0]


PARAMS = {
    "doubt/kernel": jnp.ones((2, 1)),
    "encoder/kernel": jnp.full((2, 2), 3.0),
    "encoder/bias": jnp.ones(2),
    "head/kernel": jnp.ones((2, 2)),
}
GRADS = {path: jnp.ones_like(value) for path, value in PARAMS.items()}


@pytest.mark.slow
def test_head_multiplier_scales_the_head_only():
    once, tenfold = updates_of(PARAMS, GRADS), updates_of(PARAMS, GRADS, head_multiplier=10.0)
    np.testing.assert_allclose(tenfold["head/kernel"], 10 * once["head/kernel"], rtol=1e-6)
    for path in ("encoder/kernel", "doubt/kernel"):
        np.testing.assert_array_equal(tenfold[path], once[path])
    doubting = updates_of(PARAMS, GRADS, doubt_multiplier=3.0)
    np.testing.assert_allclose(doubting["doubt/kernel"], 3 * once["doubt/kernel"], rtol=1e-6)
    np.testing.assert_array_equal(doubting["head/kernel"], once["head/kernel"])


@pytest.mark.slow
def test_weight_decay_spares_vectors():
    plain, decayed = updates_of(PARAMS, GRADS), updates_of(PARAMS, GRADS, weight_decay=0.5)
    np.testing.assert_allclose(decayed["encoder/kernel"] - plain["encoder/kernel"], -0.1 * 0.5 * 3, rtol=1e-5)
    np.testing.assert_array_equal(decayed["encoder/bias"], plain["encoder/bias"])


def test_the_head_may_decay_by_itself():
    plain, decayed = updates_of(PARAMS, GRADS), updates_of(PARAMS, GRADS, weight_decay=0.5, head_decay=2.0)
    np.testing.assert_allclose(decayed["encoder/kernel"] - plain["encoder/kernel"], -0.1 * 0.5 * 3, rtol=1e-5)
    np.testing.assert_allclose(decayed["head/kernel"] - plain["head/kernel"], -0.1 * 2.0, rtol=1e-5)


@pytest.mark.slow
def test_what_the_objective_learns_beside_the_model_is_moved_by_rules_of_its_own():
    own = {"class_proxies": np.ones((3, 2), np.float32), "hier_proxies": np.full((4, 2), 0.1, np.float32)}
    own["node_proxies"] = own["hier_proxies"]
    params = {**PARAMS, **{f"objective/{name}": value for name, value in own.items()}}
    grads = {path: np.ones_like(value) for path, value in params.items()}
    settings = {"weight_decay": 0.5, "clip_norm": 3.0, "proxy_multiplier": 3.0, "hier_multiplier": 2.0}
    optimizer = create_optimizer(optax.constant_schedule(0.1), **settings)

    @jax.jit
    def first_updates(params, grads):
        updates, _ = optimizer.update(grads, optimizer.init(params), params, manifold=Poincare(0.1))
        points = [f"objective/{name}_proxies" for name in ("hier", "node")]
        return updates, [Poincare(0.1).dist(params[name], params[name] + updates[name]) for name in points]

    updates, moved = first_updates(params, grads)
    np.testing.assert_allclose(updates["objective/class_proxies"], -0.3, rtol=1e-5)
    np.testing.assert_allclose(moved, [[0.2] * 4, [0.2] * 4], rtol=1e-3)
    plain = updates_of(PARAMS, GRADS, weight_decay=0.5, clip_norm=3.0)
    for path in PARAMS:
        assert np.sign(updates[path]).tolist() == np.sign(plain[path]).tolist()


def test_the_groups_are_those_of_every_checkpoint_that_there_is():
    state = create_optimizer(optax.constant_schedule(0.1), weight_decay=0.0, clip_norm=0.0).init(PARAMS)
    assert set(state.inner_states) == {"model", "proxies", "tangents", "points", "curvature"}


def test_gradients_are_clipped_together():
    # Adam forgets the scale of a gradient but not the ratio of two: a clip of the global norm keeps both.
    huge = {path: 1e6 * grad for path, grad in GRADS.items()}
    clipped = updates_of(PARAMS, huge, clip_norm=1e-9)
    assert float(optax.global_norm(clipped)) < 0.5 * float(optax.global_norm(updates_of(PARAMS, huge)))
