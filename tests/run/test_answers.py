"""From an evaluation to what its answers can be relied on for: who calibrates, who is judged, what is kept."""

import json

import chex
import numpy as np
import pytest

from hypjax.config.settings import default_settings
from hypjax.data.split import Splits
from hypjax.retrieval import Calibration, Shares, knn, retrieval_figures
from hypjax.retrieval.asking import needed
from hypjax.run import answers
from hypjax.training.embedding import Embedded
from hypjax.training.evaluation import Evaluation
from hypjax.training.space import create_space
from tests.data.toy import Toy

SPACE = create_space("euclidean", c=1.0, distance="geodesic", uncertainty="distance", clip_radius=2.0)


def evaluated(classes, each=5, seed=0, queries=None):
    """A source of classes around centers, two of a group near each other, and its evaluation."""
    rng, labels = np.random.default_rng(seed), np.repeat(np.arange(classes), each)
    centers = 4 * np.repeat(rng.normal(size=(-(-classes // 2), 4)), 2, axis=0)[:classes]
    centers += 0.8 * rng.normal(size=centers.shape)
    points = (centers[labels] + 0.6 * rng.normal(size=(len(labels), 4))).astype(np.float32)
    source = Toy([each] * classes, np.arange(classes)[:, None] // 2)
    source.level_names = ["pair"]
    u = rng.uniform(0.4, 0.5, len(labels)).astype(np.float32)
    embedded = Embedded(points, points, points, u, u)
    shares = Shares.whole(len(labels))
    everyone = np.arange(len(labels))
    asking = everyone if queries is None else np.flatnonzero(queries(everyone))
    answering = everyone if queries is None else np.flatnonzero(~queries(everyone))
    retrieved = retrieval_figures(
        points[asking],
        labels[asking],
        gallery=(points[answering], labels[answering]),
        exclude=everyone if queries is None else None,
        distance=SPACE.distance,
        neighbors=needed(labels[answering]),
        ks=(1,),
    )
    return source, Evaluation({}, embedded, shares, u, u, asking, answering, retrieved, {}, None, SPACE)


def relied(source, evaluation, validation=None, validated=None, **settings):
    config = default_settings()
    config.evaluation.update(settings)
    return answers.rely(config, evaluation, Splits(None, validation, source), validated)


def test_classes_that_calibrate_are_not_judged():
    source, evaluation = evaluated(60)
    made = relied(source, evaluation)
    assert made.about == {"on": "test", "size": 300, "queries": 90, "classes": 18}
    calibrating = answers.calibrating(default_settings(), source)
    assert len(calibrating) == 18
    assert set(made.asked.classes) == set(range(60)) - set(calibrating)
    found, _ = knn(*(evaluation.embedded.points,) * 2, k=1, distance=SPACE.distance, exclude=np.arange(300))
    missed = source.labels[np.asarray(found)[:, 0]] != source.labels
    judged = ~np.isin(source.labels, calibrating)
    np.testing.assert_array_equal(made.asked.wrong[0], missed[judged])
    assert made.asked.wrong[1].mean() < 0.5 * made.asked.wrong[0].mean()  # of the pair above


def test_queries_ask_the_gallery_alone():
    source, evaluation = evaluated(60, queries=lambda i: i % 5 == 0)
    made = relied(source, evaluation)
    assert made.about == {"on": "test", "size": 240, "queries": 18, "classes": 18}
    assert len(made.asked.classes) == 42


@pytest.mark.slow
def test_few_test_classes_leave_it_to_the_validation_classes_and_say_so():
    source, evaluation = evaluated(20)
    validation, validated = evaluated(12, seed=1)
    assert answers.too_few(default_settings(), source)
    made = relied(source, evaluation, validation, validated)
    assert made.about == {"on": "validation", "size": 60, "queries": 60, "classes": 12}
    assert set(made.asked.classes) == set(range(20))
    assert "12 validation classes" in made.promise
    assert "no guarantee carries over" in made.promise
    assert relied(*evaluated(60)).promise.endswith("90 %, and was learned from 18 test classes.")
    first, second, *_ = made.lines()
    assert "12 validation classes, cross-fitted, as test classes are few, held against 20 others" in first
    assert second.endswith("they searched 60 images, the others 100: no guarantee carries over")
    assert made.figures(0.2)["answers_needed@0.2"] <= 100
    assert set(made.calibration.classes) == set(range(12))  # all of them prove
    assert relied(source, evaluation) is None
    (line,) = answers.uncalibrated(default_settings())
    assert "it takes 8 classes of two images or more, of the 30% of the test classes" in line
    assert relied(*evaluated(60), calibration=0.0) is None
    off = default_settings()
    off.evaluation.calibration = 0.0
    assert not list(answers.uncalibrated(off))
    assert relied(*evaluated(2, each=1), validation, validated) is None  # one image to be found
    assert relied(*evaluated(30, each=1), validation, validated) is None  # and all alone in their class
    assert not answers.too_few(default_settings(), evaluated(60)[0])


def test_what_is_promised_is_told_for_any_risk():
    made = relied(*evaluated(200))
    figures = made.figures(0.25)
    assert figures.keys() >= {"calibration_error", "coverage_by_class@0.25", "level_share_pair@0.25"}
    *_, heads, line = made.lines(0.25)
    assert line.startswith("    at most 25% may be wrong")
    told = f"{figures['level_coverage_by_class@0.25']:.1%} ({figures['level_error_by_class@0.25']:.1%})"
    assert heads.index("or a group") + len("or a group") == line.index(told) + len(told)  # below its head
    assert {name.partition("@")[2] for name in made.figures()} == {"", "0.05", "0.1", "0.2"}


def test_it_is_kept_whole():
    made = relied(*evaluated(60))
    held = json.loads(json.dumps(made.as_dict()))
    chex.assert_trees_all_equal(Calibration.from_dict(held["made"]), made.calibration)
    assert held["classes"] == 18


@pytest.mark.parametrize("count", [1, 7])
def test_images_that_are_alone_in_their_class_do_not_ask(count):
    source, evaluation = evaluated(60)
    source.labels[: 5 * count] = np.arange(60, 60 + 5 * count)
    source.class_names += [f"lonely {i}" for i in range(5 * count)]
    source.ancestors = np.concatenate([source.ancestors, np.zeros((5 * count, 1), source.ancestors.dtype)])
    asked = answers.found(evaluation, source)
    assert len(asked.classes) == 300 - 5 * count
    assert asked.classes.max() < 60
    assert max(answers.calibrating(default_settings(), source)) < 60
