import logging

import numpy as np
import pytest

from hypjax.data.errors import DataError
from hypjax.data.sound import decodable, with_pairs
from hypjax.data.source import Source, coarsened, hierarchy, own_queries, subset
from tests.data.toy import Toy


def test_subset_renumbers_labels_and_ancestors():
    part = subset(Toy(), [9, 12, 4, 7, 8])  # classes 3 3 1 2 2
    assert isinstance(part, Source)
    np.testing.assert_array_equal(part.labels, [2, 2, 0, 1, 1])
    assert part.class_names == ["class 1", "class 2", "class 3"]
    np.testing.assert_array_equal(part.ancestors, [[0], [1], [1]])
    assert part.ancestor_names == [["low", "high"]]
    assert part.name(1) == "toy 12"
    assert part.image(1)[0, 0, 0] == 33
    high = subset(part, [0, 3])
    assert high.ancestor_names == [["high"]]
    np.testing.assert_array_equal(high.ancestors, [[0], [0]])


def test_subset_of_a_source_without_levels():
    part = subset(Toy(counts=(2, 2), ancestors=((), ())), np.array([2, 3]))
    assert part.ancestors.shape == (1, 0)
    assert part.ancestor_names == part.level_names == []


def test_coarse_classes_are_a_level_of_the_hierarchy():
    coarse = coarsened(Toy(), "half")
    assert isinstance(coarse, Source)
    np.testing.assert_array_equal(coarse.labels, [0] * 7 + [1] * 7)
    assert coarse.class_names == ["low", "high"]
    assert coarse.ancestors.shape == (2, 0)
    assert coarse.name(3) == "toy 3"
    assert coarse.image(12)[0, 0, 0] == 33
    with pytest.raises(DataError, match="no level 'third'; it has: half"):
        coarsened(Toy(), "third")


def test_coarse_classes_keep_the_levels_above():
    toy = Toy(ancestors=((0, 0), (0, 0), (1, 0), (2, 1)))
    toy.level_names, toy.ancestor_names = ["third", "half"], [["a", "b", "c"], ["low", "high"]]
    coarse = coarsened(toy, "third")
    assert coarse.level_names == ["half"]
    np.testing.assert_array_equal(coarse.ancestors, [[0], [0], [1]])
    assert coarse.ancestor_names == [["low", "high"]]


@pytest.mark.parametrize(("indices", "message"), [([], "no indices"), ([0, 14], r"\[0, 14\)"), ([-1], "-1")])
def test_subset_of_bad_indices(indices, message):
    with pytest.raises(ValueError, match=message):
        subset(Toy(), indices)


def test_classes_with_a_single_image_are_left_out(caplog):
    toy = Toy()
    assert with_pairs(toy) is toy
    with caplog.at_level(logging.WARNING):
        paired = with_pairs(Toy(counts=(2, 1, 3, 1), ancestors=((0,), (0,), (1,), (1,))))
    assert paired.class_names == ["class 0", "class 2"]
    np.testing.assert_array_equal(paired.labels, [0, 0, 1, 1, 1])
    assert "left out 2 classes with a single image ('class 1', 'class 3')" in caplog.text
    with pytest.raises(DataError, match=r"no class has 2 images or more \('class 0', 'class 1', 'class 2', …\)"):
        with_pairs(Toy(counts=(1, 1, 1, 1)))


class Broken(Toy):
    def __init__(self, bad):
        super().__init__()
        self._bad = bad

    def image(self, index):
        if index in self._bad:
            raise DataError(
                f"toy {index}: cannot decode this image (x); --config.data.skip_corrupt=true leaves such out"
            )
        return super().image(index)


def test_undecodable_images_are_counted_and_the_first_is_named(caplog):
    with caplog.at_level(logging.WARNING):
        sound = decodable(Broken({3, 13}))
    np.testing.assert_array_equal(sound, [0, 1, 2, *range(4, 13)])
    assert "skipped 2 undecodable images, the first: toy 3: cannot decode this image (x)\n" in caplog.text
    with pytest.raises(DataError, match="none of the 14 images decodes; the first: toy 0"):
        decodable(Broken(range(14)))


def test_queries_follow_their_images():
    toy = Toy()
    assert own_queries(toy) is own_queries(subset(toy, [0, 1])) is None
    toy.queries = np.arange(14) % 2 == 0
    np.testing.assert_array_equal(own_queries(subset(toy, [3, 2, 9, 8])), [False, True, False, True])
    np.testing.assert_array_equal(own_queries(coarsened(toy, "half")), toy.queries)
    assert own_queries(subset(toy, [1, 3])) is None  # nobody asks


def test_a_level_on_which_all_classes_meet_is_none():
    found = hierarchy(3, [("kind", ["a", "b", "a"]), ("realm", ["x", "x", "x"])])
    assert (found.level_names, found.ancestor_names) == (["kind"], [["a", "b"]])
    np.testing.assert_array_equal(found.ancestors, [[0], [1], [0]])
