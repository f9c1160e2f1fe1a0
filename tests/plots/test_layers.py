import numpy as np
import pytest
from PIL import Image

from hypjax import plots


def test_layers_go_outward_and_show_the_ends_of_each(tmp_path):
    radius = np.random.default_rng(0).permutation(40).astype(np.float32)
    asked = []

    def image(index):
        asked.append(index)
        return np.full((5, 7, 3), index, np.uint8)

    plots.layers(tmp_path / "layers.png", image, radius, wrong=radius < 20, rows=4, columns=3)
    shown = radius[asked].reshape(4, 3)
    np.testing.assert_array_equal(shown[:, [0, 2]], [[0, 9], [10, 19], [20, 29], [30, 39]])
    with Image.open(tmp_path / "layers.png") as picture:
        assert picture.size[0] > 300


def test_fewer_images_than_places(tmp_path):
    plots.layers(tmp_path / "few.png", lambda i: np.zeros((4, 4, 3), np.uint8), np.ones(3, np.float32))
    assert (tmp_path / "few.png").stat().st_size > 0
    with pytest.raises(ValueError, match="no images"):
        plots.layers(tmp_path / "none.png", lambda i: np.zeros((4, 4, 3), np.uint8), np.zeros(0, np.float32))
