import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hypjax import geometry, optim
from tests import compiling

C = 0.7
MANIFOLDS = {
    "poincare": (geometry.Poincare(C), geometry.poincare),
    "lorentz": (geometry.Lorentz(C), geometry.lorentz),
    "euclidean": (geometry.Euclidean(), geometry.euclidean),
    "sphere": (geometry.Sphere(), geometry.sphere),
}
CURVED = ("poincare", "lorentz", "sphere")
OPTIMIZERS = {
    "sgd": (optim.riemannian_sgd, {}, 0.1),
    "momentum": (optim.riemannian_sgd, {"momentum": 0.8}, 0.05),
    "nesterov": (optim.riemannian_sgd, {"momentum": 0.8, "nesterov": True}, 0.05),
    "adam": (optim.riemannian_adam, {"b2": 0.99}, optax.cosine_decay_schedule(0.3, 300)),
}


@pytest.fixture
def float64():
    with jax.enable_x64(True):
        yield


def draw(name, seed, n):
    """Points of the manifold, in NumPy: the same ones for both models of hyperbolic space."""
    x = np.random.default_rng(seed).normal(size=(n, 3))
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    if name == "sphere":
        x = (x + 3) / np.linalg.norm(x + 3, axis=1, keepdims=True)
    elif name != "euclidean":
        x = np.tanh(0.4 * norm) / np.sqrt(C) * x / norm
        gap = 1 - C * np.sum(x**2, axis=1, keepdims=True)
        if name == "lorentz":
            x = np.concatenate([(2 / gap - 1) / np.sqrt(C), 2 * x / gap], axis=1)
    return jnp.asarray(x)


def descend(optimizer, loss, start, steps, **told):
    """The trajectory [steps, ...] and the last state, as one compiled scan; what is told goes to each update."""

    def turn(carry, _):
        x, state = carry
        updates, state = optimizer.update(jax.grad(loss)(x), state, x, **told)
        x = optax.apply_updates(x, updates)
        return (x, state), x

    @jax.jit
    def run(start):
        (_, state), path = jax.lax.scan(turn, (start, optimizer.init(start)), length=steps)
        return path, state

    path, state = run(start)
    return np.asarray(path), state


WEIGHTS = np.arange(1.0, 6.0)


@functools.cache
def to_a_mean(name, rule):
    """300 steps of two points to the weighted mean of five, and what the logarithms of those add up to there."""
    make, settings, rate = OPTIMIZERS[rule]
    manifold, functions = MANIFOLDS[name]
    targets, start = draw(name, 1, 5), draw(name, 2, 2)

    def loss(x):
        return jnp.mean(jnp.square(functions.pairwise_dist(x, targets, c=C)) * WEIGHTS[None])

    path, _ = descend(make(rate, **settings), loss, start, 300, manifold=manifold)
    arrived = np.repeat(path[-1], 5, axis=0)
    logarithms = jax.jit(functions.logmap)(arrived, np.tile(targets, (2, 1)), c=C).reshape(2, 5, -1)
    return path, np.average(logarithms, axis=1, weights=WEIGHTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rule"),
    # In flat space the others are those of optax, and Lorentz's model goes the way of the ball.
    [*(("poincare", rule) for rule in OPTIMIZERS), ("sphere", "momentum"), ("sphere", "adam"), ("euclidean", "adam")],
)
def test_descent_finds_the_frechet_mean(name, rule, float64):
    """There the logarithms of all targets cancel: the very definition, which no optimizer has a part in."""
    path, residual = to_a_mean(name, rule)
    assert np.linalg.norm(residual) < (1e-5 if rule == "adam" else 1e-8)
    assert (np.linalg.norm(path[-1] - np.asarray(draw(name, 2, 2)), axis=1) > 0.1).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", CURVED)
def test_the_mean_of_two_points_is_their_midpoint(name, float64):
    """Single points of a batch [2, 3] do not mix, and a retraction arrives as well."""
    targets = jnp.asarray(np.reshape(draw(name, 1, 4), (2, 2, -1)))
    manifold, functions = MANIFOLDS[name]

    def loss(x):
        return jnp.sum(jnp.square(jax.vmap(lambda y: functions.dist(x, y, c=C), 1)(targets)))

    optimizer = optim.riemannian_sgd(0.1, use_expmap=False)
    path, _ = descend(optimizer, loss, draw(name, 2, 2), 150, manifold=manifold)
    middle = jax.jit(functions.weighted_midpoint)(targets, c=C)
    np.testing.assert_allclose(path[-1], middle, rtol=1e-8, atol=1e-10)


def rosenbrock(x):
    return jnp.sum(jnp.square(1 - x[..., 0]) + 3 * jnp.square(x[..., -1] - jnp.square(x[..., 0]) + 0.2))


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}])
def test_in_flat_space_sgd_is_that_of_optax(settings, float64):
    start = jnp.asarray(np.random.default_rng(0).normal(size=(4, 2)))
    rate = optax.linear_schedule(0.02, 0.001, 30)
    ours, _ = descend(optim.riemannian_sgd(rate, **settings), rosenbrock, start, 40, manifold=geometry.Euclidean())
    theirs, _ = descend(optax.sgd(rate, **settings), rosenbrock, start, 40)
    np.testing.assert_allclose(ours, theirs, rtol=1e-11)


def test_in_one_flat_dimension_adam_is_that_of_optax(float64):
    """One number a point is then one number a coordinate."""
    start = jnp.asarray(np.random.default_rng(0).normal(size=(4, 1)))
    adam = optim.riemannian_adam(0.1, b1=0.8, b2=0.9)
    ours, _ = descend(adam, rosenbrock, start, 40, manifold=geometry.Euclidean())
    theirs, _ = descend(optax.adam(0.1, b1=0.8, b2=0.9), rosenbrock, start, 40)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


def test_adam_scales_points_and_not_coordinates():
    """The first step goes straight down the gradient, η long for every point, however steep it is there."""
    gradient, points = np.float32([[3.0, 4.0], [3e-3, 4e-3]]), np.zeros((2, 2), np.float32)
    optimizer = optim.riemannian_adam(0.1)

    @jax.jit
    def first(gradient, points):
        return optimizer.update(gradient, optimizer.init(points), points, manifold=geometry.Euclidean())

    updates, state = first(gradient, points)
    np.testing.assert_allclose(updates, [[-0.06, -0.08]] * 2, rtol=1e-4)
    np.testing.assert_allclose(state.square, [0.025, 2.5e-8], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("rule", OPTIMIZERS)
def test_both_models_of_hyperbolic_space_go_the_same_way(rule, float64):
    (ball, _), (sheet, _) = (to_a_mean(name, rule) for name in ("poincare", "lorentz"))
    lifted = jax.jit(geometry.lorentz.from_poincare)(ball, c=C)
    np.testing.assert_allclose(sheet, lifted, rtol=1e-8, atol=1e-8)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("poincare", "momentum"),
        ("poincare", "adam"),
        ("lorentz", "sgd"),
        ("lorentz", "nesterov"),
        ("sphere", "adam"),
    ],
)
def test_points_stay_on_the_manifold(name, rule):
    """1000 steps in float32, hyperbolic ones driven outward until they are held at the boundary."""
    make, settings, _ = OPTIMIZERS[rule]
    manifold, functions = MANIFOLDS[name]
    start = np.asarray(draw(name, 3, 4), np.float32)

    def loss(x):
        if name == "sphere":
            return jnp.sum(functions.dist(x, x[::-1]) * jnp.arange(1.0, 5.0))
        return -jnp.sum(functions.dist0(x, c=C)) + jnp.sum(functions.dist(x, x[::-1], c=C))

    path, _ = descend(make(0.05, **settings), loss, start, 1000, manifold=manifold)
    assert np.all(np.isfinite(path))
    np.testing.assert_allclose(path, manifold.project(jnp.asarray(path)), rtol=3e-6, atol=1e-6)
    if name == "sphere":
        np.testing.assert_allclose(np.linalg.norm(path, axis=-1), np.ones((1000, 4)), rtol=1e-5)
    else:
        farthest = np.log(2 / 1e-5) / np.sqrt(C)
        distances = np.asarray(manifold.dist0(jnp.asarray(path)))
        assert np.all(distances < 1.01 * farthest)
        assert np.all(distances[-1] > 0.9 * farthest)


@pytest.mark.parametrize(
    "name", ["lorentz", *(pytest.param(name, marks=pytest.mark.slow) for name in ("poincare", "sphere"))]
)
def test_momentum_is_carried_along_without_change_of_length(name, float64):
    manifold, _ = MANIFOLDS[name]
    x = draw(name, 1, 3)
    gradient = jnp.asarray(np.random.default_rng(0).normal(size=x.shape))
    optimizer = optim.riemannian_sgd(0.3, momentum=0.9)

    @jax.jit
    def twice(x):
        """One step, and one more without a gradient."""
        updates, state = optimizer.update(gradient, optimizer.init(x), x, manifold=manifold)
        onward, _ = optimizer.update(jnp.zeros_like(x), state, x + updates, manifold=manifold)
        velocity = manifold.egrad2rgrad(x, gradient)
        lengths = manifold.norm(x, velocity), manifold.norm(x + updates, state.momentum)
        return lengths, x + updates + onward, manifold.expmap(x, -0.3 * 1.9 * velocity)

    (before, after), arrived, straight = twice(x)
    np.testing.assert_allclose(after, before, rtol=1e-9)
    # It went on along the same geodesic.
    np.testing.assert_allclose(arrived, straight, rtol=1e-9, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["nesterov", "adam"])  # the others have no more in their states
def test_it_resumes_from_its_state_alone_and_jit_changes_nothing(rule):
    """Parameters in a tree with leaves of several ranks; the state is arrays, and goes through NumPy and back."""
    make, settings, rate = OPTIMIZERS[rule]
    optimizer = make(rate, **settings)
    many = np.reshape(draw("sphere", 0, 6), (2, 3, 3))
    params = {"one": jnp.asarray(np.float32([0.6, 0.8])), "many": jnp.asarray(many)}

    def step(params, state):
        gradients = jax.tree.map(lambda x: jnp.cos(3 * x), params)
        updates, state = optimizer.update(gradients, state, params, manifold=geometry.Sphere())
        return optax.apply_updates(params, updates), state

    compiled = compiling.fully(step)
    once = compiled(params, optimizer.init(params))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(once[1]))
    assert once[1].step == 1
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), once, step(params, optimizer.init(params)))
    resumed = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), once)
    jax.tree.map(np.testing.assert_array_equal, compiled(*resumed), compiled(*once))


@pytest.mark.slow
def test_it_composes_with_other_parameters():
    """The way the state of a training uses it, with parameters that are no points beside it."""
    optimizer = optax.partition(
        {"points": optim.riemannian_adam(0.1), "other": optax.sgd(0.1)},
        lambda params: {name: "points" if name == "proxies" else "other" for name in params},
    )
    params = {"proxies": np.float32([[0.1, 0.2]]), "bias": np.float32(3.0)}
    state = jax.jit(optimizer.init)(params)
    gradients = jax.tree.map(np.ones_like, params)
    updates, _ = jax.jit(optimizer.update)(gradients, state, params, manifold=geometry.Poincare(C))
    np.testing.assert_allclose(updates["bias"], -0.1, rtol=1e-6)
    # η long by the metric of the manifold.
    dist = jax.jit(geometry.poincare.dist)
    moved = dist(params["proxies"], params["proxies"] + np.asarray(updates["proxies"]), c=C)
    np.testing.assert_allclose(moved, [0.1], rtol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rule"),
    [("poincare", "adam"), ("lorentz", "nesterov"), ("euclidean", "momentum"), ("sphere", "sgd")],
)
def test_what_has_diverged_is_not_hidden(name, rule):
    """Nor does it spread to other points."""
    make, settings, rate = OPTIMIZERS[rule]
    x = draw(name, 0, 2)
    optimizer = make(rate, **settings)
    gradient = np.zeros_like(x)
    gradient[0, 1] = np.nan

    @jax.jit
    def first_updates(x, gradient):
        return optimizer.update(gradient, optimizer.init(x), x, manifold=MANIFOLDS[name][0])[0]

    updates = np.asarray(first_updates(x, gradient))
    assert np.any(np.isnan(updates[0]))
    np.testing.assert_allclose(updates[1], 0, atol=1e-6)


def test_misuse_is_named():
    optimizer, x = optim.riemannian_sgd(0.1), jnp.zeros(2)
    for params, told in ((None, {"manifold": geometry.Euclidean()}), (x, {})):
        with pytest.raises(ValueError, match=r"update\(gradients, state, params, manifold=...\)"):
            optimizer.update(x, optimizer.init(x), params, **told)
    with pytest.raises(ValueError, match=r"parameter \['c'\] is a scalar"):
        optim.riemannian_adam(0.1).init({"c": jnp.array(1.0)})
    with pytest.raises(ValueError, match=r"momentum=1\.0"):
        optim.riemannian_sgd(0.1, momentum=1.0)
    with pytest.raises(ValueError, match=r"b1=0\.9, b2=1\.0"):
        optim.riemannian_adam(0.1, b2=1.0)
