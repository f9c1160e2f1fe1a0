import numpy as np
import pytest

from hypjax.data.errors import DataError
from hypjax.data.split import hash_order, query_gallery, split_as_given, split_by_class
from tests.data.toy import Toy

PINNED = [2, 7, 0, 6, 5, 4, 1, 3]


def test_hash_order_is_pinned():
    assert hash_order([f"class {c}" for c in range(8)], seed=0) == PINNED
    assert hash_order([f"class {c}" for c in range(8)], seed=1) != PINNED


def test_splits_are_disjoint_and_whole():
    source = Toy(counts=[2 + c % 3 for c in range(40)], ancestors=[()] * 40)
    splits = split_by_class(source, seed=3)
    assert [len(s.class_names) for s in splits] == [16, 4, 20]
    assert len(set.union(*(set(s.class_names) for s in splits))) == 40
    assert sum(len(s) for s in splits) == len(source)
    for split in splits:
        for index in range(len(split)):
            original = int(split.name(index).split()[1])
            assert split.class_names[split.labels[index]] == source.class_names[source.labels[original]]


def test_split_ignores_the_order_of_classes():
    forward = Toy(counts=[2] * 10, ancestors=[()] * 10)
    backward = Toy(counts=[2] * 10, ancestors=[()] * 10)
    backward.class_names = backward.class_names[::-1]
    for one, other in zip(split_by_class(forward), split_by_class(backward), strict=True):
        assert set(one.class_names) == set(other.class_names)


def test_fractions_may_leave_classes_out():
    source = Toy(counts=[2] * 20, ancestors=[()] * 20)
    assert [len(s.class_names) for s in split_by_class(source, fractions=(0.2, 0.1, 0.3))] == [4, 2, 6]


@pytest.mark.parametrize(("classes", "sizes"), [(6, [2, 2, 2]), (7, [2, 2, 3]), (10, [4, 2, 4]), (20, [8, 2, 10])])
def test_every_split_of_few_classes_has_two(classes, sizes):
    splits = split_by_class(Toy(counts=[2] * classes, ancestors=[()] * classes))
    assert [len(s.class_names) for s in splits] == sizes


def test_bad_splits():
    with pytest.raises(DataError, match="4 classes cannot be split into train, validation and test; at least 6"):
        split_by_class(Toy())
    with pytest.raises(ValueError, match="three positive numbers"):
        split_by_class(Toy(), fractions=(0.9, 0.1, 0.5))


def test_accents_count_alike_however_they_are_composed():
    names = ["caf\u00e9", "b", "c", "d", "e"]
    assert hash_order(names, seed=0) == hash_order(["cafe\u0301", *names[1:]], seed=0)
    assert sorted(hash_order(["caf\udce9", "b"], seed=0)) == [0, 1]  # bytes that are no UTF-8


def test_a_given_split_is_kept_and_validation_carved_out():
    source = Toy(counts=[2] * 12, ancestors=[()] * 12)
    parts = np.where(source.labels < 8, 0, 2)
    splits = split_as_given(source, parts, validation=0.25)
    assert [len(split.class_names) for split in splits] == [6, 2, 4]
    assert splits.test.class_names == [f"class {c}" for c in range(8, 12)]
    # The last of the training classes in the pinned order.
    assert set(splits.validation.class_names) == {f"class {c}" for c in PINNED[-2:]}
    assert len(split_as_given(source, parts, validation=0.0).validation) == 0
    with_own = np.where(source.labels == 3, 1, parts)
    assert split_as_given(source, with_own).validation.class_names == ["class 3"]


def test_bad_given_splits():
    source = Toy(counts=[2] * 6, ancestors=[()] * 6)
    parts = np.where(source.labels < 4, 0, 2)
    torn = parts.copy()
    torn[0] = 2
    with pytest.raises(DataError, match="train and test share 1 classes, such as 'class 0'"):
        split_as_given(source, torn)
    with pytest.raises(DataError, match="1 classes to train on, 0 for validation and 5 to test"):
        split_as_given(source, np.where(source.labels < 1, 0, 2), validation=0.0)


def test_query_gallery_takes_the_first_of_each_class():
    labels = np.random.default_rng(0).integers(0, 7, 50)
    queries = query_gallery(labels)
    assert queries.sum() == len(set(labels.tolist()))
    for label in set(labels.tolist()):
        assert np.flatnonzero(queries & (labels == label)).tolist() == [np.flatnonzero(labels == label)[0]]
