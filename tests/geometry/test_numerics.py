import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from hypjax.geometry import differences, euclidean, lorentz, numerics, poincare, sphere
from tests import compiling

N, D = 1024, 128


def embeddings():
    v = np.random.default_rng(0).normal(size=(N, D)).astype(np.float32)
    return jax.jit(poincare.expmap0)(0.15 * v, c=0.1)


def one_matmul(x, y):
    """Euclidean distances by ‖x‖² + ‖y‖² − 2⟨x, y⟩, the cheap and inaccurate way."""
    products = jnp.matmul(x, y.T, precision=lax.Precision.HIGHEST)
    s = jnp.sum(x * x, axis=-1)[:, None] + jnp.sum(y * y, axis=-1)[None, :] - 2 * products
    return jnp.where(s > 0, jnp.sqrt(jnp.where(s > 0, s, 1)), 0)


def lifted(distance):
    return lambda x, y: distance(lorentz.from_poincare(x, c=0.1), lorentz.from_poincare(y, c=0.1), c=0.1)


DISTANCES = {
    "poincare": lambda x, y: poincare.pairwise_dist(x, y, c=0.1),
    "lorentz": lifted(lorentz.pairwise_dist),
    "euclidean": euclidean.pairwise_dist,
    "one_matmul": one_matmul,
}


def log_sum_exp(distance):
    """Each row's soft nearest neighbor, itself excluded."""

    def loss(x):
        logits = jnp.where(jnp.eye(len(x), dtype=bool), -jnp.inf, -distance(x, x) / 0.2)
        return jnp.mean(jax.nn.logsumexp(logits, axis=1))

    return loss


LOSSES = {"log_sum_exp": log_sum_exp, "mean": lambda distance: lambda x: jnp.mean(distance(x, x))}


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", ["poincare", "lorentz", "euclidean"])
def test_the_gradient_of_an_all_pairs_loss_needs_at_most_5_squares_of_memory(name, loss):
    gradient = jax.jit(jax.value_and_grad(LOSSES[loss](DISTANCES[name])))
    memory = gradient.lower(jax.ShapeDtypeStruct((N, D), jnp.float32)).compile().memory_analysis()
    assert memory.temp_size_in_bytes <= 5 * 4 * N * N


@pytest.mark.slow
@pytest.mark.parametrize("loss", LOSSES)
def test_the_gradient_takes_at_most_3_times_that_of_one_matmul(loss):
    x = embeddings()
    steps = {
        name: compiling.fully(jax.value_and_grad(LOSSES[loss](DISTANCES[name]))) for name in ("poincare", "one_matmul")
    }
    for step in steps.values():
        jax.block_until_ready(step(x))

    def ratio():
        best = dict.fromkeys(steps, np.inf)
        for _ in range(20):
            for name, step in steps.items():
                start = time.process_time()
                jax.block_until_ready(step(x))
                best[name] = min(best[name], time.process_time() - start)
        return best["poincare"] / best["one_matmul"]

    # The processor's time, so that other programs do not count, and up to three times: a cache may still be shared.
    assert any(ratio() <= 3 for _ in range(3))


@pytest.mark.parametrize(
    ("n", "m", "d"),
    [(1, 1, 1), (7, 2, 9), *(pytest.param(*shape, marks=pytest.mark.slow) for shape in ((3, 5, 2), (4, 4, 4)))],
)
def test_pairwise_sqdist_is_the_loop(n, m, d):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(m, d)).astype(np.float32)
    expected = [[np.sum((a.astype(np.float64) - b) ** 2) for b in y] for a in x]
    for found in jax.jit(lambda *z: (numerics.pairwise_sqdist(*z), differences._sqdist_fused(*z)))(x, y):
        np.testing.assert_allclose(found, expected, rtol=1e-6)


@pytest.mark.slow
def test_pairwise_sqdist_derivatives_in_both_modes():
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.normal(size=(n, 3)).astype(np.float32)) for n in (4, 5))

    def plain(x, y):
        return jnp.sum(jnp.square(x[:, None, :] - y[None, :, :]), axis=-1)

    @jax.jit
    def derivatives(x, y):
        first = [
            [mode(f, argnums=argument)(x, y) for f in (numerics.pairwise_sqdist, plain)]
            for argument in (0, 1)
            for mode in (jax.jacfwd, jax.jacrev)
        ]
        curves = [jax.hessian(lambda x, f=f: jnp.sum(jnp.sin(f(x, x))))(x) for f in (numerics.pairwise_sqdist, plain)]
        return first, curves

    first, curves = derivatives(x, y)
    for both in first:
        np.testing.assert_allclose(*both, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(*curves, rtol=1e-4, atol=1e-4)


def test_points_closer_than_their_rounding_are_one_point():
    x = np.full((2, 8), 0.25, np.float32)
    x[1, 3] = np.nextafter(np.float32(0.25), np.float32(1))
    squares = jax.jit(lambda x: numerics.pairwise_sqdist(x, x))
    np.testing.assert_array_equal(squares(x), 0)
    x[1, 3] = 0.25001
    np.testing.assert_allclose(np.asarray(squares(x))[0, 1], 1e-10, rtol=1e-2)


NOT_POSITIVE = [0, -1, False, -0.5, float("nan"), np.float32(-1), np.int8(0), np.array([1.0, -1.0]), jnp.array(-1.0)]


@pytest.mark.parametrize("value", NOT_POSITIVE, ids=repr)
def test_what_is_known_not_to_be_positive_is_refused(value):
    with pytest.raises(ValueError, match=r"tau must be positive, got .*; use more"):
        numerics.require_positive(value, "tau", "use more")
    with pytest.raises(ValueError, match=r"tau must be positive, got [^;]*$"):
        jax.jit(lambda x: numerics.require_positive(value, "tau"))(1.0)  # closed over, it is known while tracing too


@pytest.mark.parametrize(
    "value", [1, 0.5, np.float32(1e-3), jnp.array([1.0, 2.0]), jnp.bfloat16(2), None, object(), "c"]
)
def test_what_is_positive_or_unknown_passes(value):
    numerics.require_positive(value, "tau")


def test_tracers_pass_and_are_not_concrete():
    seen = []

    def watch(t):
        numerics.require_positive(t, "tau")
        seen.append(numerics.concrete(t))
        return t

    jax.grad(jax.jit(watch))(-1.0)
    jax.vmap(watch)(-jnp.ones(3))
    jax.eval_shape(watch, -1.0)
    assert seen
    assert all(value is None for value in seen)
    deleted = jnp.ones(2)
    deleted.delete()
    assert numerics.concrete(deleted) is None


gap_and_slopes = jax.jit(jax.value_and_grad(numerics.boundary_gap, (0, 1)))
gaps_and_slopes = jax.jit(jax.vmap(gap_and_slopes, (0, None)))


@pytest.mark.slow
@pytest.mark.parametrize("c", [0.1, 0.7, 1.0, 2.5])
@pytest.mark.parametrize("d", [1, 3, 128])
def test_the_gap_to_the_boundary_is_as_of_twice_the_digits(d, c):
    """Against float64 on the same float32 points, from 1 down to the smallest gap that is represented."""
    rng = np.random.default_rng(0)
    unit = rng.normal(size=(500, d))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    x = (np.sqrt((1 - np.logspace(-4.5, 0, 500)[:, None]) / c) * unit).astype(np.float32)
    expected = 1 - float(np.float32(c)) * np.sum(x.astype(np.float64) ** 2, axis=1)
    gap, slope = gaps_and_slopes(x, np.float32(c))
    np.testing.assert_allclose(gap, expected, rtol=5e-6)
    np.testing.assert_allclose(slope[0], -2 * c * x, rtol=1e-6, atol=1e-30)
    np.testing.assert_allclose(slope[1], -np.sum(x.astype(np.float64) ** 2, axis=1), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("x", [[1.0, 0.0], [1e20, 1.0], [3e38, -3e38], [2.0, 1.0], [0.0, 0.0]])
def test_the_gap_is_held_at_and_beyond_the_boundary(x):
    gap, slopes = gap_and_slopes(np.float32(x), np.float32(1))
    np.testing.assert_allclose(gap, 1 if x == [0.0, 0.0] else 1e-5)
    np.testing.assert_array_equal(slopes[0], 0)
    np.testing.assert_array_equal(slopes[1], 0)
    assert np.isnan(gap_and_slopes(np.float32([np.nan, 0.0]), np.float32(1))[0])
    assert np.isnan(gap_and_slopes(np.float32(x), np.float32(np.nan))[0])


norm_and_slope = jax.jit(jax.value_and_grad(numerics.safe_norm))


@pytest.mark.parametrize("scale", [0.0, 1e-45, 1e-30, 1.0, 1e30])
def test_safe_norm_and_its_gradient(scale):
    x = (scale * np.array([3.0, -4.0])).astype(np.float32)
    value, gradient = norm_and_slope(x)
    tiny = scale < 1e-37
    np.testing.assert_allclose(value, 0.0 if tiny else 5 * scale, rtol=1e-6)
    np.testing.assert_allclose(gradient, [0.0, 0.0] if tiny else [0.6, -0.8], rtol=1e-6)


def test_ratios_are_smooth_and_exact(dtype):
    a = np.concatenate([[0], np.logspace(-12, 1.3, 200)]).astype(dtype)
    rtol = 3e-6 if dtype == "float32" else 1e-14
    wide = np.where(a == 0, 1, a).astype(np.float64)
    expected = {
        "tanhc": np.tanh(wide) / wide,
        "sinhc": np.sinh(wide) / wide,
        "asinhc_sqrt": np.arcsinh(np.sqrt(wide)) / np.sqrt(wide),
        "sinh_ratio": np.sinh(0.3 * wide) / np.sinh(wide),
    }
    z = np.linspace(0, 0.9, 50).astype(dtype)

    @jax.jit
    def ratios(a, z):
        found = {name: getattr(numerics, name)(a) for name in ("tanhc", "sinhc", "asinhc_sqrt")}
        return found | {"sinh_ratio": numerics.sinh_ratio(jnp.full_like(a, 0.3), a)}, numerics.artanhc(z) * z

    found, artanh = jax.tree.map(np.asarray, ratios(a, z))
    for name, value in found.items():
        np.testing.assert_allclose(value[1:], expected[name][1:], rtol=rtol, err_msg=name)
        np.testing.assert_allclose(value[0], 0.3 if name == "sinh_ratio" else 1.0, rtol=1e-6, err_msg=name)
    np.testing.assert_allclose(artanh[1:], np.arctanh(z[1:].astype(np.float64)), rtol=rtol)


def test_asinh_sqrt_near_0_where_arccosh_fails():
    t = np.float32(2.5e-7)
    np.testing.assert_allclose(numerics.asinh_sqrt(jnp.asarray(t)), np.arcsinh(np.sqrt(np.float64(t))), rtol=1e-6)
    assert abs(np.arccosh(1 + 2 * t) / 1e-3 - 1) > 0.01


def test_products_of_matrices_run_at_the_highest_precision():
    x = jnp.ones((2, 3))
    assert "HIGHEST" in str(jax.make_jaxpr(numerics.matmul)(x, x.T))
    backward = jax.make_jaxpr(jax.grad(lambda x: jnp.sum(poincare.pairwise_dist(x, x, c=1.0))))(x)
    assert str(backward).count("dot_general") == str(backward).count("Precision.HIGHEST, Precision.HIGHEST") > 0


@pytest.mark.slow
def test_importing_geometry_brings_in_jax_alone():
    heavy = [
        "flax",
        "optax",
        "orbax",
        "matplotlib",
        "einops",
        "tensorflow_datasets",
        "grain",
        "ml_collections",
        "absl.app",
    ]
    code = f"import sys, hypjax.geometry; print([m for m in {heavy} if m in sys.modules])"
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize("geometry", [euclidean, sphere, poincare, lorentz])
def test_nan_is_not_hidden_by_any_guard(geometry):
    broken = np.float32([[0.1, 0.2], [np.nan, 0.0], [0.3, -0.1]])

    @jax.jit
    def distances(x):
        points = geometry.expmap0(x, c=1.0) if geometry in (poincare, lorentz) else geometry.expmap0(x)
        return geometry.pairwise_dist(points, points, c=1.0), geometry.dist(points[1], points[0], c=1.0)

    every, one = map(np.asarray, distances(broken))
    assert np.isnan(every[1]).all()
    assert np.isnan(every[:, 1]).all()
    assert np.isfinite(every[0, 2])
    assert np.isnan(one)
