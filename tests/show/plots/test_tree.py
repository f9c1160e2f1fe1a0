import numpy as np
import pytest
from matplotlib.colors import to_rgb

from hypjax.show.plots import style
from hypjax.show.plots.tree import _angles, _below, _radii, _tints, choose_leaves, tree
from tests.show.plots.rendered import pixels

# ((0 1) (2 3) 4), and a star
PARENT = np.array([5, 5, 6, 6, 7, 7, 7, -1])
GROUP = np.array([0, 0, 1, 0, 1])
STAR = np.array([5, 5, 5, 5, 5, -1])


def image(leaf):
    return np.full((7, 9, 3), 20 * leaf, np.uint8)


@pytest.mark.parametrize("parent", [PARENT, STAR])
def test_a_picture_of_decent_size_is_drawn(parent):
    names = ["fish", "$b_$", "a name much longer than there is room for", "", "ü"]
    shown = pixels(tree(parent, image, GROUP, ["a", "$b"], leaf_names=names, title="$T", caption="$c"))
    assert min(shown.shape[:2]) > 1200
    assert shown.std() > 5


@pytest.mark.slow
def test_images_and_colors_are_there():
    colored = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)]
    shown = pixels(tree(PARENT, lambda i: np.full((8, 8, 3), colored[i], np.uint8), GROUP, ["a", "b"]))
    in_sight = [np.mean(np.all(shown == color, axis=2)) for color in colored]
    assert min(in_sight) > 1e-3
    np.testing.assert_allclose(in_sight, in_sight[0], rtol=0.05)
    for color in style.COLORS[:2]:
        assert np.any(np.all(np.abs(shown - 255 * np.array(to_rgb(color))) < 1.5, axis=2))


@pytest.mark.parametrize("groups", [1, 12])
def test_one_leaf_and_many_groups_can_be_drawn(groups):
    parent = np.array([*[groups] * groups, -1]) if groups > 1 else np.array([-1])
    assert pixels(tree(parent, image, np.arange(groups), [f"group {i}" for i in range(groups)])).std() > 3


def test_leaves_stand_in_even_steps_and_branches_do_not_cross():
    parent = np.array([6, 7, 6, 7, 8, 8, 9, 9, 10, 10, -1])
    below = _below(parent, np.array([2, 0, 1, 0, 1, 2]), 3)
    angle = _angles(parent, below, 6)
    np.testing.assert_allclose(np.diff(np.sort(angle[:6])), 2 * np.pi / 6)
    rank = np.argsort(np.argsort(-angle[:6]))
    for node in range(6, 11):
        inside = rank[[leaf for leaf in range(6) if node in above(parent, leaf)]]
        assert np.ptp(inside) == len(inside) - 1  # leaves below one node stand side by side
        branches = angle[parent == node]
        assert angle[node] == pytest.approx((branches.min() + branches.max()) / 2)


def above(parent, node):
    return [] if parent[node] < 0 else [parent[node], *above(parent, parent[node])]


@pytest.mark.parametrize("seed", range(3))
def test_branches_lead_outwards(seed):
    rng = np.random.default_rng(seed)
    parent, free = np.full(59, -1), list(range(30))
    for node in range(30, 59):
        a, b = free.pop(rng.integers(len(free))), free.pop(rng.integers(len(free)))
        parent[[a, b]] = node
        free.append(node)
    radius = _radii(parent, _below(parent, np.zeros(30, int), 1).sum(axis=1))
    assert radius[-1] == 0
    np.testing.assert_array_equal(radius[:30], 1)
    assert np.all(radius[:-1] > radius[parent[:-1]])


def test_branches_have_the_color_of_their_majority():
    color = np.array([[1.0, 0, 0], [0, 0, 1.0]])
    tints = _tints(np.array([[4, 0], [3, 1], [0, 2], [2, 2]]), color)
    np.testing.assert_array_equal(tints[[0, 2]], color)
    faint = np.array(style.ink(0.15))
    away = np.abs(tints - color[[0, 0, 1, 0]]).sum(axis=1) / np.abs(faint - color[[0, 0, 1, 0]]).sum(axis=1)
    assert 0 == away[0] < away[1] < away[3] < 1


def test_leaves_are_chosen_evenly_from_the_largest_groups():
    nearest = np.repeat(np.arange(7), [9, 5, 1, 8, 2, 2, 30])
    groups = np.stack([nearest, np.array([0, 0, 0, 1, 1, 1, 2])[nearest]], axis=1)
    chosen = choose_leaves(groups, most=20, siblings=3)
    assert np.all(np.diff(chosen) > 0)
    np.testing.assert_array_equal(np.bincount(nearest[chosen], minlength=7), [3, 3, 0, 3, 2, 1, 3])
    np.testing.assert_array_equal(choose_leaves(groups, most=2, siblings=3), [27, 0][::-1])
    np.testing.assert_array_equal(choose_leaves(np.zeros((9, 0), int), most=3), [0, 4, 8])
    np.testing.assert_array_equal(choose_leaves(groups[:4], most=60, siblings=60), np.arange(4))


def test_too_many_leaves_and_what_is_no_tree_are_refused():
    with pytest.raises(ValueError, match="got 151: choose_leaves"):
        tree(np.array([*[151] * 151, -1]), image, np.zeros(151, int), ["a"])
    with pytest.raises(ValueError, match="1 to 150 leaves, got 0"):
        tree(np.zeros(0, int), image, np.zeros(0, int), ["a"])
    for parent in ([2, 2, 3], [1, -1], [3, 3, 2, -1], [3, 3, -1, -1], [2, 9, -1], [3, 3, 3, -1]):
        with pytest.raises(ValueError, match="no tree over 2 leaves"):
            tree(np.array(parent), image, np.zeros(2, int), ["a"])
