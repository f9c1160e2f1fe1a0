import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.data.errors import UsageError
from hypjax.encoders.model import ModelOutput
from hypjax.geometry.manifold import NAMED
from hypjax.retrieval import knn, selection
from hypjax.training.space import create_space

TANGENT = jnp.asarray((0.5 * np.random.default_rng(0).normal(size=(12, 5))).astype(np.float32))
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


@pytest.mark.slow
@pytest.mark.parametrize("geometry", NAMED)
@pytest.mark.parametrize("uncertainty", ["radius", "distance"])
def test_uncertainty_falls_with_the_radius(geometry, uncertainty):
    tangent = jnp.asarray(np.linspace(0.1, 2.2, 12, dtype=np.float32)[:, None] * np.eye(5, dtype=np.float32)[:1])
    made = space(geometry, uncertainty=uncertainty)
    values = np.asarray(made.uncertainty(ModelOutput(tangent, tangent, None)))
    assert (np.diff(values) < 0).all()
    assert ((values >= 0) & (values <= 1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("geometry", NAMED)
def test_a_similarity_is_largest_where_the_distance_is_smallest(geometry):
    made = space(geometry)

    @jax.jit
    def both(tangent):
        points = made.manifold.embed(tangent)
        return made.distance(points, points), made.similarity(points, points)

    distances, similarities = map(np.asarray, both(TANGENT))
    assert (similarities <= 1 + 1e-6).all()
    for row, likeness in zip(distances, similarities, strict=True):
        np.testing.assert_array_equal(np.argsort(row), np.argsort(-likeness))


@pytest.mark.slow
@pytest.mark.parametrize("geometry", NAMED)
def test_a_hybrid_of_alpha_one_is_the_geodesic(geometry):
    plain, hybrid = space(geometry), space(geometry, distance="hybrid", hybrid={"alpha": 1.0})
    points = plain.manifold.embed(TANGENT)
    half = space(geometry, distance="hybrid", hybrid={"alpha": 0.5})
    distances = [np.asarray(jax.jit(made.distance)(points, points)) for made in (plain, hybrid, half)]
    np.testing.assert_array_equal(distances[0], distances[1])
    assert np.abs(distances[2] - distances[0]).max() > 0.01


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


@pytest.mark.slow
def test_a_space_made_anew_at_another_curvature_compiles_no_search():
    before = selection._masked._cache_size()
    for c in (0.3, 0.7):
        made = space(c=c, distance="hybrid", hybrid={"alpha": 0.5})
        points = made.manifold.embed(TANGENT)
        found, distances = knn(points, points, k=3, distance=made.distance)
        everyone = np.asarray(made.distance(points, points))
        np.testing.assert_allclose(distances, np.take_along_axis(everyone, found, axis=1), rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(distances, np.sort(everyone, axis=1)[:, :3], rtol=1e-5, atol=1e-6)
    assert selection._masked._cache_size() == before + 1
