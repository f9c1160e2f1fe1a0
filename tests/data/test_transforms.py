from functools import partial

import numpy as np
import pytest
from PIL import Image

from hypjax.data.emoji import Emoji
from hypjax.data.transforms import (
    DEGRADATIONS,
    DRAWINGS,
    INTERPOLATIONS,
    PHOTOGRAPHS,
    EvaluationTransform,
    RandomDegradation,
    TrainTransform,
    color_matrix,
    degrade,
    random_crop_box,
)


def rng(seed=0):
    return np.random.default_rng(seed)


@pytest.mark.parametrize("settings", [PHOTOGRAPHS, DRAWINGS, {**DRAWINGS, "flip": True}])
@pytest.mark.parametrize("shape", [(96, 96), (1, 1), (1, 300), (300, 1), (7, 500)])
def test_training_views_of_odd_images(settings, shape):
    image = rng().integers(0, 256, (*shape, 3), np.uint8)
    before = image.copy()
    transform = TrainTransform(32, **settings)
    for seed in range(5):
        view = transform(image, rng(seed))
        assert view.shape == (32, 32, 3)
        assert view.dtype == np.uint8
        np.testing.assert_array_equal(view, transform(image, rng(seed)))
    np.testing.assert_array_equal(image, before)


def test_crop_boxes_keep_their_ranges():
    generator = rng()
    boxes = np.array([random_crop_box(80, 120, generator, scale=(0.3, 0.9), ratio=(0.75, 1.5)) for _ in range(500)])
    left, top, right, bottom = boxes.T
    assert left.min() >= 0
    assert top.min() >= 0
    assert right.max() <= 120
    assert bottom.max() <= 80
    share = (right - left) * (bottom - top) / (80 * 120)
    ratio = (right - left) / (bottom - top)
    assert 0.3 - 1e-9 <= share.min() < 0.35
    assert 0.85 < share.max() <= 0.9 + 1e-9
    assert ratio.min() >= 0.75 - 1e-9
    assert ratio.max() <= 1.5 + 1e-9


def test_crop_box_of_a_strip_falls_back_to_the_center():
    box = random_crop_box(10, 1000, rng(), scale=(0.9, 1.0), ratio=(0.75, 4 / 3))
    np.testing.assert_allclose(box, (500 - 20 / 3, 0, 500 + 20 / 3, 10))


def test_whole_crop_is_the_image():
    image = Emoji("validation").image(0)
    same = TrainTransform(96, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=False)(image, rng())
    np.testing.assert_array_equal(same, image)


def test_flips_half_of_the_time():
    image = np.zeros((8, 8, 3), np.uint8)
    image[:, :4] = 255
    transform = TrainTransform(8, scale=(1.0, 1.0), ratio=(1.0, 1.0), flip=True)
    left = np.array([transform(image, rng(seed))[0, 0, 0] == 255 for seed in range(200)])
    assert 70 < left.sum() < 130


def test_tint_colors_white_and_leaves_black():
    image = np.full((8, 8, 3), 255, np.uint8)
    transform = TrainTransform(8, flip=False, tint=0.5)
    views = np.array([transform(image, rng(seed))[4, 4] for seed in range(50)])
    assert views.min() >= 127
    assert views.min() < 150
    assert np.ptp(views, axis=1).max() > 40
    np.testing.assert_array_equal(transform(0 * image, rng()), 0)
    np.testing.assert_allclose(color_matrix(rng(), jitter=0.0, tint=0.0), np.eye(3, 4).ravel(), atol=1e-12)


@pytest.mark.parametrize("kind", DEGRADATIONS)
def test_degradation_grows_with_its_level(kind):
    image = Emoji("validation").image(5)
    np.testing.assert_array_equal(degrade(image, kind, 0.0, rng()), image)
    for seed in range(5):
        harm = [
            np.abs(degrade(image, kind, level, rng(seed)).astype(float) - image).mean()
            for level in (0.0, 0.1, 0.25, 0.5, 0.75, 1.0)
        ]
        assert (np.diff(harm) > 0).all(), (kind, harm)


def test_occlusion_covers_its_share_and_nests():
    image = np.zeros((100, 80, 3), np.uint8)
    covered = [(degrade(image, "occlusion", level, rng(4)) > 0).any(-1) for level in (0.2, 0.6, 1.0)]
    for mask, level in zip(covered, (0.2, 0.6, 1.0), strict=True):
        assert mask.mean() == pytest.approx(0.6 * level, abs=0.01)
    assert (covered[0] <= covered[1]).all()
    assert (covered[1] <= covered[2]).all()


def test_noise_has_its_deviation():
    grey = np.full((64, 64, 3), 128, np.uint8)
    assert degrade(grey, "noise", 0.25, rng()).astype(float).std() == pytest.approx(20, rel=0.03)


def test_evaluation_view_is_the_central_square():
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 30:70] = 200
    inner = np.s_[2:-2, 2:-2]  # bicubic resampling looks a little beyond the square
    np.testing.assert_array_equal(EvaluationTransform(20)(image, rng())[inner], 200)
    image[10:30, 40:60] = 90
    np.testing.assert_array_equal(EvaluationTransform(20, resize=40)(image, rng())[inner], 90)
    blurred = EvaluationTransform(20, degradation="noise", level=1.0)(image, rng())
    assert len(np.unique(blurred)) > 50


def test_evaluation_view_of_the_whole_picture():
    """Squashed, both halves keep their share; and of a larger square the center is cut out."""
    image = np.zeros((40, 100, 3), np.uint8)
    image[:, 50:] = 200
    image[:4] = image[-4:] = 90
    view = EvaluationTransform(20, fit="squash", interpolation="box")(image, rng())
    np.testing.assert_array_equal(view[2:-2, :10], 0)
    np.testing.assert_array_equal(view[2:-2, 10:], 200)
    np.testing.assert_array_equal(view[:2], 90)
    view = EvaluationTransform(16, resize=20, fit="squash", interpolation="box")(image, rng())
    np.testing.assert_array_equal(view[:, 8:], 200)


@pytest.mark.parametrize("interpolation", INTERPOLATIONS)
def test_views_are_interpolated_as_asked(interpolation):
    """As Pillow does by that name; that names are not all one and the same shows beside bicubic."""
    image = rng().integers(0, 256, (30, 30, 3), np.uint8)
    asked = np.asarray(Image.fromarray(image).resize((12, 12), Image.Resampling[interpolation.upper()]))
    whole = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": False}
    for make in (EvaluationTransform, partial(TrainTransform, **whole)):
        view = make(12, interpolation=interpolation)(image, rng())
        np.testing.assert_array_equal(view, asked)
        assert (view == make(12)(image, rng())).all() == (interpolation == "bicubic")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: degrade(np.zeros((4, 4, 3), np.uint8), "rain", 0.5, rng()), "unknown degradation 'rain'"),
        (lambda: degrade(np.zeros((4, 4, 3), np.uint8), "blur", 1.5, rng()), r"\[0, 1\]; got 1.5"),
        (lambda: TrainTransform(0), "size must be positive; got 0"),
        (lambda: TrainTransform(8, scale=(0.0, 1.0)), "scale"),
        (lambda: TrainTransform(8, jitter=1.0), "jitter"),
        (lambda: EvaluationTransform(64, resize=32), "size <= resize"),
        (lambda: EvaluationTransform(64, fit="pad"), "unknown fit 'pad'; there are crop, squash"),
        (lambda: EvaluationTransform(64, interpolation="cubic"), "unknown interpolation 'cubic'; there are nearest, "),
        (lambda: TrainTransform(64, interpolation="cubic"), "unknown interpolation 'cubic'"),
    ],
)
def test_bad_settings(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_random_degradation_damages_its_share_and_says_how_much():
    image = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    generator = rng(1)
    drawn = [RandomDegradation(0.25)(image, generator) for _ in range(2000)]
    levels = np.array([level for _, level in drawn])
    assert abs((levels > 0).mean() - 0.25) < 0.03
    assert abs(levels[levels > 0].mean() - 0.5) < 0.05
    assert all((view is image) == (level == 0) for view, level in drawn)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(ValueError, match=str(share)):
        RandomDegradation(share)
