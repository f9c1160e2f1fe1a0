import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.encoders.discriminant import Scatter, discriminant_directions
from hypjax.encoders.head import Head, calibrate, refit


def sample(seed=0, classes=30, images=6, f=16, style=4.0):
    """Features of classes that differ in four quiet coordinates, while a loud style varies within each."""
    generator = np.random.default_rng(seed)
    labels = np.repeat(np.arange(classes), images)
    x = 0.3 * generator.normal(size=(classes * images, f)) + 2
    x[:, :4] += generator.normal(size=(classes, 4))[labels]
    x[:, 4:8] += style * generator.normal(size=(classes * images, 4))
    return x.astype(np.float32), labels


def scatter_of(x, labels, step=7):
    scatter = Scatter(int(labels.max()) + 2, x.shape[1])  # a class more, which nobody belongs to
    for start in range(0, len(x), step):
        scatter.add(x[start : start + step], labels[start : start + step])
    return scatter


def recall_at_1(x, labels):
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    cosines = x @ x.T
    np.fill_diagonal(cosines, -2)
    return np.mean(labels[cosines.argmax(axis=1)] == labels)


def test_scatters_are_those_of_all_rows_however_they_are_shown():
    x, labels = sample()
    scatter, exact = scatter_of(x, labels), x.astype(np.float64)
    means = np.stack([exact[labels == k].mean(0) for k in range(30)])[labels]
    assert scatter.count == len(x)
    np.testing.assert_allclose(scatter.mean, exact.mean(0), rtol=1e-12)
    np.testing.assert_allclose(scatter.within(), (exact - means).T @ (exact - means) / len(x), atol=1e-10)
    between = (means - exact.mean(0)).T @ (means - exact.mean(0)) / len(x)
    np.testing.assert_allclose(scatter.total(), scatter.within() + between, atol=1e-10)


def test_directions_whiten_the_scatter_within_and_order_the_total():
    scatter = scatter_of(*sample())
    kernel = discriminant_directions(scatter, 6, shrinkage=0.2)
    within = scatter.within()
    shrunk = within + 0.2 * np.trace(within) / 16 * np.eye(16)
    np.testing.assert_allclose(kernel.T @ shrunk @ kernel, np.eye(6), atol=1e-9)
    spread = kernel.T @ scatter.total() @ kernel
    np.testing.assert_allclose(spread, np.diag(np.diag(spread)), atol=1e-9)
    assert (np.diff(np.diag(spread)) < 0).all()


def test_much_shrinkage_leaves_principal_directions():
    scatter = scatter_of(*sample())
    kernel = discriminant_directions(scatter, 3, shrinkage=1e9)
    principal = np.linalg.eigh(scatter.total())[1][:, ::-1][:, :3]
    np.testing.assert_allclose(np.abs((kernel / np.linalg.norm(kernel, axis=0)).T @ principal), np.eye(3), atol=1e-5)


def fitted(x, **settings):
    head = Head(**{"dim": 4, "kernel_init": "pca", "kernel": "kept", "clip": "none", "start_radius": 1.0, **settings})
    _, variables = head.init_with_output(jax.random.key(0), jnp.asarray(x))
    return head, calibrate(head, variables, jnp.asarray(x))


@pytest.mark.slow
def test_a_head_that_is_fitted_anew_finds_classes_that_were_never_seen():
    x, labels = sample()
    head, variables = fitted(x)
    new = refit(head, variables, jnp.asarray(x), scatter_of(x, labels), shrinkage=0.1)
    unseen, their_labels = sample(seed=1)
    bare = recall_at_1(unseen.astype(np.float64), their_labels)
    before, after = (
        recall_at_1(np.asarray(head.apply(v, jnp.asarray(unseen))), their_labels) for v in (variables, new)
    )
    assert after > max(before, bare) + 0.3
    lengths = [jnp.linalg.norm(head.apply(v, jnp.asarray(x)), axis=1).mean() for v in (variables, new)]
    np.testing.assert_allclose(*lengths, rtol=1e-4)
    np.testing.assert_allclose(np.asarray(head.apply(new, jnp.asarray(x))).mean(0), 0, atol=1e-5)


@pytest.mark.slow
def test_a_head_that_centers_comes_to_the_same():
    x, labels = sample()
    scatter, results = scatter_of(x, labels), []
    for normalize in ("none", "center"):
        head, variables = fitted(x, normalize=normalize)
        results.append(head.apply(refit(head, variables, jnp.asarray(x), scatter, shrinkage=0.1), jnp.asarray(x)))
    directions = [r / np.linalg.norm(r, axis=1, keepdims=True) for r in map(np.asarray, results)]
    np.testing.assert_allclose(*directions, atol=1e-4)


def test_what_cannot_be_fitted_is_refused():
    x, labels = sample()
    scatter = scatter_of(x, labels)
    with pytest.raises(ValueError, match="at most 16 directions"):
        discriminant_directions(scatter, 17, shrinkage=0.1)
    with pytest.raises(ValueError, match="shrinkage must be positive, got 0"):
        discriminant_directions(scatter, 4, shrinkage=0.0)
    with pytest.raises(ValueError, match="no class has two images that differ"):
        discriminant_directions(scatter_of(x, np.arange(len(x))), 4, shrinkage=0.1)
    head, variables = fitted(x, normalize="standardize")
    with pytest.raises(ValueError, match="cannot be fitted anew"):
        refit(head, variables, jnp.asarray(x), scatter, shrinkage=0.1)


@pytest.mark.slow
def test_a_head_of_several_spaces_is_fitted_anew_in_each():
    x, labels = sample()
    scatter, params = scatter_of(x, labels), {}
    for shares in ((5, 3), (5,), (3,)):
        head = Head(
            dim=sum(shares), shares=shares, kernel_init="pca", normalize="center", kernel="kept", clip_radius=2.0
        )
        _, variables = head.init_with_output(jax.random.key(0), jnp.asarray(x))
        variables = calibrate(head, variables, jnp.asarray(x))
        params[shares] = refit(head, variables, jnp.asarray(x), scatter, shrinkage=0.1)["params"]
    for name in ("kernel", "bias"):
        apart = np.concatenate([params[(5,)][name], params[(3,)][name]], axis=-1)
        np.testing.assert_allclose(params[(5, 3)][name], apart, rtol=1e-4, atol=1e-5)
