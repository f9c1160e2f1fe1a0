import jax.numpy as jnp
import numpy as np
import pytest

from hypjax.geometry import Poincare, cones
from hypjax.retrieval import class_midpoints
from hypjax.show.plots import ancestors
from hypjax.show.plots.ancestors import _cones, _geodesics
from tests.show.plots.rendered import pixels

LEVELS, NAMES = ["class", "kind", "group"], ["a", "b_$", "c"]


def grown(d=2, c=0.5, seed=0):
    """Images around classes around kinds around groups, the farther out the lower, and their paths."""
    rng = np.random.default_rng(seed)
    tangent, ids = np.zeros((1, d)), np.zeros((1, 0), int)
    for children in (3, 2, 2, 4):
        tangent = np.repeat(tangent, children, axis=0)
        tangent += rng.normal(size=tangent.shape) / np.sqrt(c * d)
        ids = np.concatenate([np.arange(len(tangent))[:, None], np.repeat(ids, children, axis=0)], axis=1)
    return np.asarray(Poincare(c).embed(jnp.float32(tangent))), ids[:, 1:]


@pytest.mark.slow
@pytest.mark.parametrize(("d", "levels"), [(2, 3), (8, 3), (2, 1)])
def test_a_tree_is_drawn(d, levels):
    points, paths = grown(d)
    figure = ancestors(points, paths[:, -levels:], LEVELS[-levels:], NAMES, c=0.5)
    assert min(pixels(figure).shape[:2]) > 800
    words = figure.get_supxlabel()
    assert ("angles projected" in words) == (d > 2)
    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == NAMES


@pytest.mark.slow
def test_what_the_caption_says_is_of_all_dimensions():
    points, paths = grown(8)
    words, space = ancestors(points, paths, LEVELS, NAMES, c=0.5, k=0.8).get_supxlabel(), Poincare(0.5)
    midpoints = [class_midpoints(points, column, midpoint=space.midpoint) for column in paths.T]
    for level, name in enumerate(LEVELS):
        inside = [
            cones.exterior_angle(space, midpoints[level][node], point)
            <= cones.half_aperture(space, midpoints[level][node], k=0.8)
            for node, point in zip(paths[:, level], jnp.asarray(points), strict=True)
        ]
        assert f"of their {name} {np.mean(inside):.0%}" in words
        if level:
            above = np.unique(paths[:, level - 1 : level + 1], axis=0)
            nearer = [space.dist0(midpoints[level][b]) < space.dist0(midpoints[level - 1][a]) for a, b in above]
            assert f"{np.mean(nearer):.0%} of those with a {name}" in words


@pytest.mark.slow
@pytest.mark.parametrize("place", [(0.9, 0.2), (-0.3, 0.1), (-0.7, -0.01)])
def test_the_sides_of_a_cone_make_its_half_aperture_and_it_ends_at_the_rim(place):
    space = Poincare(0.5)
    (outline,), apex = _cones(np.array([place]), 0.5, 0.3), jnp.float32(place)
    width = float(cones.half_aperture(space, apex, k=0.3))
    sides = np.concatenate([outline[20:60], outline[-60:-20]]).astype(np.float32)
    np.testing.assert_allclose(cones.exterior_angle(space, apex[None], jnp.asarray(sides)), width, rtol=2e-3)
    rim = outline[100:-100].astype(np.float32)
    np.testing.assert_allclose(np.linalg.norm(rim, axis=1), np.sqrt(2), rtol=1e-3)
    inner = jnp.asarray(0.999 * rim[5:-5])
    assert bool(jnp.all(cones.exterior_angle(space, apex[None], inner) < width))


@pytest.mark.slow
def test_geodesics_join_their_ends_and_are_as_long_as_the_distance():
    points, _ = grown()
    space, start, end = Poincare(0.5), points[:5], points[-5:]
    lines = jnp.asarray(_geodesics(start, end, 0.5))
    np.testing.assert_allclose(lines[:, 0], start, atol=1e-5)
    np.testing.assert_allclose(lines[:, -1], end, atol=1e-5)
    steps = space.dist(lines[:, 1:], lines[:, :-1])
    np.testing.assert_allclose(steps.sum(axis=1), space.dist(jnp.asarray(start), jnp.asarray(end)), rtol=1e-3)


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="no points"):
        ancestors(np.zeros((0, 2), np.float32), np.zeros((0, 1), int), ["class"], [], c=1.0)
    with pytest.raises(ValueError, match="outside the ball of radius 1"):
        ancestors(np.ones((1, 2), np.float32), np.zeros((1, 1), int), ["class"], ["a"], c=1.0)


def test_an_only_child_which_is_where_its_parent_is_counts_in_no_share():
    points = np.array([[0.3, 0.0], [0.0, 0.4], [-0.5, 0.0], [0.0, -0.6]], np.float32)
    paths = np.array([[0, 0], [1, 0], [2, 1], [2, 1]])
    words = ancestors(points, paths, ["class", "kind"], ["a", "b"], c=0.5).get_supxlabel()
    assert "whose parent lies nearer the origin: 100% of those with a kind" in words.replace("\n", " ")
    words = ancestors(points[1:3], paths[1:3], ["class", "kind"], ["a", "b"], c=0.5).get_supxlabel()
    assert "lies nearer the origin" not in words.replace("\n", " ")
