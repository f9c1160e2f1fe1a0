import numpy as np
import pytest

from hypjax.show import plots
from tests.show.plots.rendered import pixels


def test_layers_go_outward_and_show_the_ends_of_each():
    radius = np.random.default_rng(0).permutation(40).astype(np.float32)
    asked = []

    def image(index):
        asked.append(index)
        return np.full((5, 7, 3), index, np.uint8)

    figure = plots.layers(image, radius, wrong=radius < 20, rows=4, columns=3)
    shown = radius[asked].reshape(4, 3)
    np.testing.assert_array_equal(shown[:, [0, 2]], [[0, 9], [10, 19], [20, 29], [30, 39]])
    assert pixels(figure).shape[1] > 300


def test_fewer_images_than_places():
    figure = plots.layers(lambda i: np.zeros((4, 4, 3), np.uint8), np.ones(3, np.float32))
    assert len(figure.axes[0].images) == 3
    with pytest.raises(ValueError, match="no images"):
        plots.layers(lambda i: np.zeros((4, 4, 3), np.uint8), np.zeros(0, np.float32))
