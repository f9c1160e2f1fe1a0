import hashlib
from importlib import resources

import numpy as np
import pytest

from hypjax.data.emoji import Emoji
from hypjax.data.sound import with_pairs
from hypjax.data.source import Source

PACKAGE = resources.files("hypjax.data.emoji")


@pytest.mark.parametrize(
    ("split", "images", "classes", "subgroups"),
    [("train", 3232, 739, 96), ("validation", 888, 200, 68), ("test", 4282, 970, 93), (None, 8402, 1909, 98)],
)
def test_counts(split, images, classes, subgroups):
    emoji = Emoji(split)
    assert isinstance(emoji, Source)
    assert (len(emoji), len(emoji.class_names)) == (images, classes)
    assert [len(names) for names in emoji.ancestor_names] == [subgroups, 9]
    assert len(emoji.labels) == images
    counts = np.bincount(emoji.labels)
    assert counts.min() == 2
    assert counts.max() == 6
    assert with_pairs(emoji) is emoji


def test_splits_share_no_class_and_are_what_the_hash_says():
    splits = {name: set(Emoji(name).codepoints) for name in ("train", "validation", "test")}
    assert sum(map(len, splits.values())) == len(set.union(*splits.values())) == 1909
    for name, ids in splits.items():
        low, high = {"train": (0, 0.4), "validation": (0.4, 0.5), "test": (0.5, 1)}[name]
        units = [int(hashlib.sha256(i.encode()).hexdigest()[:16], 16) / 2**64 for i in ids]
        assert low <= min(units)
        assert max(units) < high


def test_hierarchy_is_a_tree_with_known_names():
    emoji = Emoji()
    fox = emoji.class_names.index("fox")
    names = [level[a] for level, a in zip(emoji.ancestor_names, emoji.ancestors[fox], strict=True)]
    assert names == ["animal-mammal", "animals-nature"]
    groups_of = {(s, g) for s, g in emoji.ancestors}
    assert len(groups_of) == 98


def test_images_are_drawings_on_white():
    emoji = Emoji("validation")
    for index in range(0, len(emoji), 37):
        image = emoji.image(index)
        assert image.shape == (96, 96, 3)
        assert image.dtype == np.uint8
        assert np.ptp(image) >= 32, emoji.name(index)
    smiley = Emoji().image(0)
    np.testing.assert_array_equal(smiley[[0, 0, -1, -1], [0, -1, 0, -1]], 255)
    red, green, blue = smiley[20, 48]
    assert red > 200 > 100 > blue  # yellow
    assert green > 150


def test_archive_is_small_and_comes_with_every_license():
    assert (PACKAGE / "emoji.zip").stat().st_size <= 12_000_000
    attribution = (PACKAGE / "ATTRIBUTION.md").read_text(encoding="utf-8")
    emoji = Emoji()
    vendors = {emoji.name(i).split("/")[0] for i in range(len(emoji))}
    assert len(vendors) == 6
    assert all(f"`{vendor}/`" in attribution for vendor in vendors)
    opening = {
        "LICENSE-Apache-2.0.txt": ("Apache License", 9000),
        "LICENSE-CC-BY-4.0.txt": ("Creative Commons Attribution 4.0 International", 15000),
        "LICENSE-MIT-fluent-emoji.txt": ("MIT License\n\nCopyright (c) Microsoft Corporation", 1000),
        "LICENSE-MIT-emojibase.txt": ("MIT License\n\nCopyright (c) 2017-2019 Miles Johnson", 1000),
    }
    for name, (start, length) in opening.items():
        text = (PACKAGE / name).read_text(encoding="utf-8")
        assert text.startswith(start)
        assert len(text) > length
        assert name in attribution


def test_unknown_split():
    with pytest.raises(ValueError, match="unknown split 'tests'; the emoji have train, validation, test"):
        Emoji("tests")
