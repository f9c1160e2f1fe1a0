import numpy as np
import pytest
from matplotlib.colors import to_rgb

from hypjax.show.plots import gallery, style
from tests.show.plots.rendered import pixels

RIGHT, WRONG = ((np.array(to_rgb(color)) * 255).round().astype(int) for color in (style.RIGHT, style.WRONG))


def share_of(shown, color):
    return np.mean(np.abs(shown - color).max(axis=2) < 8)


def gray(i):
    return np.full((16, 16, 3), 200, np.uint8)


def search(n=12, k=6, right=True):
    labels = np.arange(n) % 4
    neighbors = np.stack([np.arange(i + 4, i + 4 + 4 * k, 4) % n for i in range(n)])
    if not right:
        neighbors = (neighbors + 1) % n
    uncertainty = np.linspace(0, 1, n).astype(np.float32)
    return neighbors, np.tile(np.linspace(0.1, 1, k), (n, 1)), labels, uncertainty


@pytest.mark.slow
@pytest.mark.parametrize("right", [True, False])
def test_frames_and_badges_tell_right_from_wrong(right):
    shown = pixels(gallery(gray, *search(right=right)))
    assert min(shown.shape[:2]) > 700
    expected, other = (RIGHT, WRONG) if right else (WRONG, RIGHT)
    assert share_of(shown, expected) > 0.01
    assert share_of(shown, other) == 0


@pytest.mark.slow
def test_the_most_certain_are_on_the_left_and_the_least_on_the_right():
    neighbors, distances, labels, uncertainty = search()
    wrong = search(right=False)[0]
    neighbors = np.where(uncertainty[:, None] > 0.5, wrong, neighbors)
    shown = pixels(gallery(gray, neighbors, distances, labels, uncertainty, rows=3))
    left, right = np.split(shown[:, : shown.shape[1] // 2 * 2], 2, axis=1)
    assert share_of(left, RIGHT) > 0.01
    assert share_of(right, WRONG) > 0.01
    assert share_of(left, WRONG) == share_of(right, RIGHT) == 0


@pytest.mark.slow
def test_queries_are_chosen_by_uncertainty_one_a_class_among_the_valid():
    asked, found = [], []
    neighbors, distances, labels, uncertainty = search()
    gallery(
        lambda i: asked.append(i) or gray(i),
        neighbors,
        distances,
        labels,
        uncertainty,
        gallery_image=lambda i: found.append(i) or gray(i),
        gallery_labels=labels,
        class_names=["a long name of a class that needs lines", "$x_1", "", "d"],
        valid=np.arange(12) != 0,
        rows=4,
    )
    assert asked == [1, 2, 3, 4, 11, 10, 9, 8]
    assert found[:5] == neighbors[1, :5].tolist()
    assert len(found) == 8 * 5


@pytest.mark.slow
def test_images_of_any_size_are_shown():
    red = np.zeros((9, 30, 3), np.uint8) + np.array([255, 0, 0], np.uint8)
    assert share_of(pixels(gallery(lambda i: red, *search())), np.array([255, 0, 0])) > 0.2


@pytest.mark.slow
def test_fewer_queries_and_neighbors_than_rows_can_be_drawn():
    assert pixels(gallery(gray, *search(n=4, k=2))).std() > 5


def test_no_query_to_show_is_refused():
    with pytest.raises(ValueError, match="no query"):
        gallery(gray, *search(), valid=np.zeros(12, bool))
