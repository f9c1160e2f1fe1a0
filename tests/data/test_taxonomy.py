import json

import numpy as np
import pytest

from hypjax.data import catalog
from hypjax.data.errors import DataError
from hypjax.data.taxonomy import read_tree
from tests.pictures import save_pictures

LINES = {"wren": "songbird", "songbird": "bird", "owl": "bird", "cod": "fish", "bird": "animal", "fish": "animal"}


def listed(path, lines):
    rows = [{"child": child, "parent": parent} for child, parent in lines]
    text = "child,parent\n" + "".join(f"{child},{parent}\n" for child, parent in lines)
    path.write_text(json.dumps(rows) if path.suffix == ".json" else text)
    return path


@pytest.mark.parametrize("name", ["tree.csv", "tree.json"])
def test_levels_are_counted_from_the_top_as_deep_as_every_class_reaches(tmp_path, name, caplog):
    """The root, where all meet, is none: to answer with it would always be right."""
    path = listed(tmp_path / name, [*LINES.items(), (" tit", "songbird "), ("hake", "cods"), ("cods", "fish")])
    found = read_tree(path, ["hake", "tit", "wren"])
    assert found.level_names == ["level 2", "level 1"]
    assert found.ancestor_names == [["cods", "songbird"], ["bird", "fish"]]
    np.testing.assert_array_equal(found.ancestors, [[0, 1], [1, 0], [1, 0]])
    assert not caplog.text
    found = read_tree(path, ["cod", "owl", "wren"])
    assert (found.level_names, found.ancestor_names) == (["level 1"], [["bird", "fish"]])
    np.testing.assert_array_equal(found.ancestors, [[1], [0], [0]])
    assert "1 of 2 levels of ancestors are used, as many as class 'cod' has" in caplog.text
    assert read_tree(path, ["wren"]).level_names == []


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ([*LINES.items(), ("cod", "bird")], "'cod' has two parents, 'fish' and 'bird'; leave one out"),
        ([*LINES.items(), ("animal", "bird")], "'bird' is an ancestor of its own"),
        ([("owl", "bird"), ("cod", "fish")], "class 'wren' is no child of anything"),
        ([("owl", ""), ("cod", "fish")], "line 1 lacks one of child, parent"),
    ],
)
def test_what_is_no_tree_of_the_classes_is_named(tmp_path, lines, message):
    with pytest.raises(DataError, match=message):
        read_tree(listed(tmp_path / "tree.csv", lines), ["owl", "cod", "wren"])


def test_a_tree_file_takes_the_place_of_what_the_folders_say(tmp_path):
    folder = save_pictures(tmp_path / "images", classes=10, each=2)
    names = sorted(path.name for path in folder.iterdir())
    tree = listed(tmp_path / "tree.csv", [(name, f"kind {number % 2}") for number, name in enumerate(names)])
    splits = catalog.load("folder", directory=str(folder), tree=str(tree))
    for part in splits:
        assert part.level_names == ["level 1"]
        kinds = [part.ancestor_names[0][above] for (above,) in part.ancestors]
        assert kinds == [f"kind {names.index(name) % 2}" for name in part.class_names]
    with pytest.raises(DataError, match="emoji have a tree of their own"):
        catalog.load("emoji", tree=str(tree))
