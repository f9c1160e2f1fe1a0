import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.data.errors import UsageError
from hypjax.encoders.model import ModelOutput
from hypjax.geometry.manifold import NAMED
from hypjax.training.space import create_space

TANGENT = 0.5 * jax.random.normal(jax.random.key(0), (12, 5))
OUTPUT = ModelOutput(features=TANGENT, tangent=TANGENT, doubt=None)


def space(geometry="poincare", **options):
    chosen = {"c": 0.3, "distance": "geodesic", "uncertainty": "radius", "clip_radius": 2.3, **options}
    return create_space(geometry, **chosen)


@pytest.mark.slow
def test_both_models_of_hyperbolic_space_agree():
    ball, hyperboloid = space("poincare"), space("lorentz")
    np.testing.assert_allclose(
        ball.distance(ball.manifold.embed(TANGENT), ball.manifold.embed(TANGENT)),
        hyperboloid.distance(hyperboloid.manifold.embed(TANGENT), hyperboloid.manifold.embed(TANGENT)),
        atol=2e-5,
    )
    np.testing.assert_allclose(ball.uncertainty(OUTPUT), hyperboloid.uncertainty(OUTPUT), atol=1e-5)


@pytest.mark.parametrize("geometry", NAMED)
@pytest.mark.parametrize("uncertainty", ["radius", "distance"])
def test_uncertainty_falls_with_the_radius(geometry, uncertainty):
    direction = jnp.eye(5)[:1]
    tangent = jnp.linspace(0.1, 2.2, 12)[:, None] * direction
    values = space(geometry, uncertainty=uncertainty).uncertainty(ModelOutput(tangent, tangent, None))
    assert (np.diff(values) < 0).all()
    assert ((values >= 0) & (values <= 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("geometry", NAMED)
def test_a_similarity_is_largest_where_the_distance_is_smallest(geometry):
    made = space(geometry)
    points = made.manifold.embed(TANGENT)
    distances, similarities = np.asarray(made.distance(points, points)), np.asarray(made.similarity(points, points))
    assert (similarities <= 1 + 1e-6).all()
    for row, likeness in zip(distances, similarities, strict=True):
        np.testing.assert_array_equal(np.argsort(row), np.argsort(-likeness))


@pytest.mark.slow
@pytest.mark.parametrize("geometry", NAMED)
def test_a_hybrid_of_alpha_one_is_the_geodesic(geometry):
    plain, hybrid = space(geometry), space(geometry, distance="hybrid", hybrid={"alpha": 1.0})
    points = plain.manifold.embed(TANGENT)
    np.testing.assert_array_equal(plain.distance(points, points), hybrid.distance(points, points))
    half = space(geometry, distance="hybrid", hybrid={"alpha": 0.5})
    assert np.abs(half.distance(points, points) - plain.distance(points, points)).max() > 0.01


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: space("klein"), "geometry 'klein' is unknown; there are: poincare"),
        (lambda: space(distance="cosine"), "distance of geometry poincare: 'cosine' is unknown"),
        (lambda: space(uncertainty="none"), "uncertainty 'none' is unknown"),
        (lambda: space(c=0.0), "c must be positive"),
    ],
)
def test_what_does_not_exist_is_named(call, words):
    with pytest.raises(UsageError, match=words):
        call()
