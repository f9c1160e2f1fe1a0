"""Guarantees: what each p-value is, and that the word is kept over many draws of calibration sets."""

from math import comb

import numpy as np
import pytest
from scipy.special import expit

from hypjax.retrieval import certify, clopper_pearson, fixed_sequence
from hypjax.retrieval.risk import class_p_values, image_p_values

DRAWS, DELTA = 400, 0.1
BROKEN = DELTA + 3 * (DELTA * (1 - DELTA) / DRAWS) ** 0.5  # three binomial errors above what is promised
GRID = np.linspace(0.02, 1, 50)


def test_an_image_p_value_is_a_binomial_tail():
    rng = np.random.default_rng(0)
    answered, wrong = rng.uniform(size=(6, 40)) < np.linspace(0, 1, 6)[:, None], rng.uniform(size=40) < 0.2
    for row, p in zip(answered, image_p_values(answered, wrong, alpha=0.3), strict=True):
        n, k = row.sum(), (row & wrong).sum()
        assert p == pytest.approx(sum(comb(n, i) * 0.3**i * 0.7 ** (n - i) for i in range(k + 1)))


@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_it_passes_where_the_bound_of_clopper_and_pearson_does(alpha):
    for n in (1, 22, 44, 45, 100):
        for k in range(0, n + 1, 3):
            (p,) = image_p_values(np.ones((1, n), bool), np.arange(n) < k, alpha=alpha)
            assert (p <= DELTA) == (clopper_pearson(k, n, delta=DELTA) <= alpha)
    assert clopper_pearson(5, 5, delta=DELTA) == 1 == clopper_pearson(0, 0, delta=DELTA)


def test_fewer_than_22_answers_prove_nothing():
    for n, found in ((21, None), (22, 1.0)):
        guarantee = certify(np.zeros(n), np.zeros(n, bool), np.array([1.0]), alpha=0.1)
        assert (guarantee and guarantee.threshold) == found


def test_a_walk_ends_where_it_first_fails():
    rng = np.random.default_rng(1)
    for _ in range(200):
        p, starts = rng.uniform(size=8) ** 3, sorted({0, *rng.integers(0, 8, 2).tolist()})
        ends = []
        for start in starts:
            at = start
            while at < 8 and p[at] <= 0.3 / len(starts):
                ends.append(at)
                at += 1
        assert fixed_sequence(p, delta=0.3, starts=starts) == max(ends, default=None)


@pytest.mark.parametrize("bound", ["betting", "hoeffding-bentkus"])
@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_a_class_p_value_is_rarely_small_where_the_risk_is_at_the_limit(bound, alpha):
    """All images of a class are wrong, or none: the hardest there is, with a mean of exactly α."""
    rng = np.random.default_rng(2)
    classes = np.repeat(np.arange(60), 2)
    wrong = np.repeat(rng.uniform(size=(1000, 60)) < alpha, 2, axis=1)
    p = class_p_values(np.ones_like(wrong), wrong, classes, alpha=alpha, bound=bound)
    for level in (0.05, 0.1, 0.3):
        assert (p <= level).mean() <= level + 3 * (level * (1 - level) / 1000) ** 0.5
    assert class_p_values(np.ones((1, 120), bool), wrong[0] & False, classes, alpha=0.2, bound=bound) < 0.01


def test_it_is_of_what_was_answered_class_by_class():
    classes, scores = np.array([5, 5, 9, 9, 9]), np.array([0.1, 0.9, 0.1, 0.2, 0.9])
    wrong = np.array([True, False, False, True, True])
    answered = scores[None] <= 0.5
    one = class_p_values(answered, wrong, classes, alpha=0.2, bound="hoeffding-bentkus")
    mean = 0.2 + np.mean([0.8 / 2, (-0.2 + 0.8) / 3])
    assert mean > 0.2
    assert one == 1.0
    swapped = class_p_values(answered[:, ::-1], wrong[::-1], classes[::-1] + 7, alpha=0.2, bound="hoeffding-bentkus")
    np.testing.assert_array_equal(one, swapped)


class World:
    """Classes that are hard or easy as a whole, and scores that know a part of it.

    An image is wrong with a probability that its class shifts; its score is that probability without the shift.
    """

    def __init__(self, classes=2000, images=5, spread=2.0, seed=0):
        rng = np.random.default_rng(seed)
        told = rng.normal(-1.5, 1.5, (classes, images))
        self.wrong = rng.uniform(size=told.shape) < expit(told + spread * rng.normal(size=(classes, 1)))
        self.scores = expit(told)

    def draw(self, rng, count):
        chosen = rng.integers(0, len(self.scores), count)
        classes = np.repeat(np.arange(count), self.scores.shape[1])
        return self.scores[chosen].ravel(), self.wrong[chosen].ravel(), classes

    def risk(self, threshold):
        answered = self.scores <= threshold
        return self.wrong[answered].mean() if answered.any() else 0.0

    def broken(self, alpha, count, **form):
        """How often the word is not kept, and how often it is given."""
        rng, broken, given = np.random.default_rng(3), 0, 0
        by_class = form.pop("by_class")
        for _ in range(DRAWS):
            scores, wrong, classes = self.draw(rng, count)
            found = certify(
                scores, wrong, GRID, alpha=alpha, delta=DELTA, classes=classes if by_class else None, **form
            )
            given += found is not None
            broken += found is not None and self.risk(found.threshold) > alpha
        return broken / DRAWS, given / DRAWS


@pytest.mark.slow
@pytest.mark.parametrize("bound", ["betting", "hoeffding-bentkus"])
def test_the_class_form_keeps_its_word_on_new_classes(bound):
    broken, given = World().broken(0.25, 600, by_class=True, bound=bound, starts=(4, 9))
    assert broken <= BROKEN
    assert given > 0.8


@pytest.mark.slow
def test_the_image_form_keeps_its_word_on_images_and_breaks_it_on_new_classes():
    independent, dependent = World(classes=20_000, images=1, seed=4), World(images=20, spread=3.0, seed=5)
    broken, given = independent.broken(0.25, 400, by_class=False, starts=(9,))
    assert broken <= BROKEN
    assert given > 0.9
    broken, _ = dependent.broken(0.3, 100, by_class=False, starts=(9,))
    assert broken > BROKEN + 0.05
    kept, _ = dependent.broken(0.3, 100, by_class=True, starts=(9,))
    assert kept <= BROKEN


def test_bets_prove_more_than_hoeffding_and_bentkus():
    scores, wrong, classes = World().draw(np.random.default_rng(6), 300)
    answered = scores[None] <= GRID[:, None]
    p = [class_p_values(answered, wrong, classes, alpha=0.3, bound=b) for b in ("betting", "hoeffding-bentkus")]
    assert (p[0] <= DELTA).sum() > (p[1] <= DELTA).sum()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"alpha": 0.0}, "alpha must lie in"),
        ({"delta": 1.0}, "delta must lie in"),
        ({"starts": ()}, "starts"),
        ({"starts": (3,)}, "starts"),
        ({"thresholds": np.array([0.5, 0.5])}, "ascend"),
        ({"bound": "none", "classes": np.zeros(4, int)}, "bound must be one of"),
    ],
)
def test_what_is_out_of_range_is_named(changed, message):
    given = {"thresholds": np.array([0.1, 0.5]), "alpha": 0.1} | changed
    with pytest.raises(ValueError, match=message):
        certify(np.zeros(4), np.zeros(4, bool), given.pop("thresholds"), **given)
