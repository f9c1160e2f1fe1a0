import numpy as np
import pytest

from hypjax.training.windows import windows


@pytest.mark.parametrize("counts", [(3, 4, 2, 5, 1, 6), (1,) * 20, (2, 19, 2), (50, 1), (7, 7, 7)])
@pytest.mark.parametrize("size", [8, 7, 20])
def test_every_image_is_answered_for_once_and_with_its_class(counts, size):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    answered = np.zeros(len(labels), int)
    for window in windows(labels, size):
        assert len(window.rows) == min(size, len(labels)) == len(set(window.rows.tolist()))
        answered[window.rows[window.whole]] += 1
        for label in set(labels[window.rows[window.whole]].tolist()):
            if counts[label] <= size:
                assert np.sum(labels[window.rows] == label) == counts[label]
    assert (answered == 1).all()


def test_few_images_are_one_window_in_order():
    (window,) = windows(np.array([1, 0, 1]), 3)
    np.testing.assert_array_equal(window.rows, [0, 1, 2])
    assert window.whole.all()
