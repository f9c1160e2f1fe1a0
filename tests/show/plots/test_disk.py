import numpy as np
import pytest
from matplotlib.figure import Figure

from hypjax.show.flattening import flattening
from hypjax.show.plots import disk
from hypjax.show.plots.disk import _shade, _steps, rings
from hypjax.show.plots.style import largest_groups
from tests.show.plots.rendered import pixels


def embeddings(n=60, d=8, c=0.5, groups=3, seed=0):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, groups, n)
    directions = 3 * np.eye(d)[group] + rng.normal(size=(n, d))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radius = rng.uniform(0.1, 0.95, n) / np.sqrt(c)
    return (radius[:, None] * directions).astype(np.float32), group, (1 - np.sqrt(c) * radius).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize(("d", "c"), [(8, 0.5), (2, 0.5), (8, None), (1, 0.5)])
def test_a_picture_of_decent_size_is_drawn(d, c):
    points, group, uncertainty = embeddings(d=max(d, 3))
    shown = pixels(disk(points[:, :d], group, ["a", "b_$", "c"], uncertainty, c=c))
    assert min(shown.shape[:2]) > 800
    assert shown.std() > 5


def test_radii_are_exact_and_two_dimensions_stay_as_they_are():
    points, group, _ = embeddings()
    norms = np.linalg.norm(points, axis=1)
    plane = flattening(points, group)
    assert plane.how == "angle"
    np.testing.assert_allclose(np.linalg.norm(plane(points), axis=1), norms, rtol=1e-6)
    np.testing.assert_allclose(plane(points[:1]), plane(points)[:1], rtol=1e-12)
    for d in (1, 2):
        plane = flattening(points[:, :d], group)
        assert plane.how == "as they are"
        np.testing.assert_array_equal(plane(points[:, :d])[:, :d], points[:, :d])


def test_angles_show_the_groups():
    points, group, _ = embeddings(n=300, d=16)
    places = flattening(points, group)(points)
    directions = places / np.linalg.norm(places, axis=1, keepdims=True)
    means = np.stack([directions[group == g].mean(0) for g in range(3)])
    nearest = np.argmax(directions @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T, axis=1)
    assert np.mean(nearest == group) > 0.8


def test_unit_vectors_are_projected_within_the_disk():
    points, group, _ = embeddings()
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    plane = flattening(points, group, spherical=True)
    places = plane(points)
    assert plane.how == "projected"
    assert np.linalg.norm(places, axis=1).max() <= 1 + 1e-6


def test_rings_lie_at_hyperbolic_distances_inside_the_boundary():
    axes = Figure().subplots()
    c = 0.1
    assert rings(axes, 1.0, c) == pytest.approx(1 / np.sqrt(c))
    boundary, *drawn = [patch.get_radius() for patch in axes.patches]
    distances = [float(text.get_text()) for text in axes.texts]
    assert len(drawn) >= 4
    assert max(drawn) < boundary
    np.testing.assert_allclose(2 / np.sqrt(c) * np.arctanh(np.sqrt(c) * np.array(drawn)), distances, rtol=1e-6)


@pytest.mark.parametrize("farthest", [0.003, 0.9, 1.0, 3.7, 250.0])
def test_ring_steps_are_even_and_few(farthest):
    steps = _steps(farthest)
    assert 3 <= len(steps) <= 7
    np.testing.assert_allclose(np.diff(steps), steps[0])
    assert steps[-1] <= farthest * (1 + 1e-9)


def test_uncertainty_is_visible():
    points, group, uncertainty = embeddings()
    (dots,) = disk(points, group, ["a", "b", "c"], uncertainty, c=0.5).axes[0].collections
    distance = np.linalg.norm(dots.get_offsets(), axis=1)  # in this test, the nearer to the origin the less certain
    assert np.corrcoef(distance, dots.get_sizes())[0, 1] < -0.8
    assert np.corrcoef(distance, dots.get_facecolors()[:, 3])[0, 1] > 0.8
    assert np.all(np.diff(_shade(np.sort(uncertainty))) >= 0)
    np.testing.assert_array_equal(_shade(np.full(3, 0.2)), 0.5)


def test_small_groups_beyond_the_palette_are_drawn_together():
    group = np.concatenate([np.repeat(np.arange(9), 5), np.arange(20, 35)])
    row, names = largest_groups(group, [f"group {i}" for i in range(40)])
    assert names == [*(f"group {i}" for i in range(9)), "15 other groups"]
    np.testing.assert_array_equal(row, np.concatenate([np.repeat(np.arange(9), 5), np.full(15, 9)]))
    points, _, uncertainty = embeddings()
    figure = disk(points, group, [f"group {i}" for i in range(40)], uncertainty, c=0.5)
    assert figure.axes[1].texts[-1].get_text() == "15 other groups  (15)"


def test_one_point_at_the_origin_can_be_drawn():
    assert pixels(disk(np.zeros((1, 4)), np.zeros(1, int), ["a"], np.ones(1), c=1.0)).std() > 3


def test_points_outside_the_ball_and_no_points_are_refused():
    points, group, uncertainty = embeddings(c=0.5)
    with pytest.raises(ValueError, match="outside the ball of radius 1"):
        disk(points, group, ["a", "b", "c"], uncertainty, c=1.0)
    with pytest.raises(ValueError, match="no points"):
        disk(points[:0], group[:0], [], uncertainty[:0], c=1.0)
