import re

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from hypjax.data.errors import UsageError
from hypjax.stores.where import DEEPEST, LONGEST, read_filter
from tests.filters import PATHS, filters

ROWS = {
    "path": np.array(PATHS),
    "uncertainty": np.array([0.1, 0.4, 0.5, 0.75, 0.0, 1.0, 0.4, 0.2], np.float32),
    "p_wrong": np.linspace(0, 1, 8, dtype=np.float32),
}
COLUMNS = list(ROWS)


def chosen(text):
    return np.flatnonzero(read_filter(text, COLUMNS).mask(ROWS)).tolist()


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ('uncertainty < 0.4 and path like "2024/%"', [0]),
        ("uncertainty <= 0.4", [0, 1, 4, 6, 7]),  # as float32, which 0.4 is none
        ("uncertainty == .4", [1, 6]),
        ("path == '2024/a.jpg' or p_wrong >= 1", [0, 7]),
        ("not (uncertainty > 0.2 OR path Like '2023%')", [0, 4, 7]),
        ("not not uncertainty > 0.5", [3, 5]),
        ("path in ['2024', \"\"]", [6, 7]),
        ("path not in ['2024', \"\"] and uncertainty not in [0.1, 1]", [1, 2, 3, 4]),
        ("path like '%_1.jpg'", [1]),  # an underscore is one
        ("path like '%a%.%g'", [0, 3, 4]),
        ("path like '2024'", [6]),
        ("path like '2024%024'", []),  # nothing is used twice
        ("path like '%'", list(range(8))),
        ("path == 'it\\'s \"a\"\\\\b.png'", [4]),
        ("path > '2024'", [0, 1, 2, 4]),
        ("uncertainty > 0.3 or uncertainty < 0.05 and path like '2%'", [1, 2, 3, 5, 6]),  # and binds closer
        ("  ( ( uncertainty>-1e3 ) )  ", list(range(8))),
    ],
)
def test_a_filter_chooses_what_it_says(text, rows):
    assert chosen(text) == rows


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(filters)
def test_a_mask_is_what_python_says_of_each_row(pair):
    text, python = pair
    rows = [{name: ROWS[name][i].item() for name in ROWS} for i in range(len(PATHS))]
    expected = [bool(eval(python, {"re": re, "row": row})) for row in rows]
    read = read_filter(text, COLUMNS)
    assert read.mask(ROWS).tolist() == expected
    # What is said to a database can be read again, but that it would take underscores for wildcards.
    again = read_filter(read.expression.replace("\\\\_", "_"), COLUMNS)
    assert again.mask(ROWS).tolist() == expected


@pytest.mark.slow
@given(st.text(max_size=30))
def test_text_comes_out_in_quotes_that_it_cannot_leave(text):
    quoted = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if any(ord(letter) < 32 or ord(letter) == 127 for letter in text):
        with pytest.raises(UsageError, match="a control character"):
            read_filter(f"path == {quoted}", COLUMNS)
        return
    expression = read_filter(f"path == {quoted}", COLUMNS).expression
    assert expression == f"(path == {quoted})"
    assert re.fullmatch(r'\(path == "(?:[^"\\]|\\.)*"\)', expression, re.DOTALL)


@given(st.text(max_size=20) | st.lists(st.sampled_from([*"()[],'\"%\\= ", "and", "or", "not", "in", "path", "1"])))
@example("\x1f")  # a space to Python and none to the words
def test_whatever_is_no_filter_is_refused_in_one_line(text):
    said = ""
    try:
        read_filter("".join(text), COLUMNS)
    except UsageError as error:
        said = str(error)
    assert "\n" not in said
    assert len(said) < 400


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"expected a column \(path, uncertainty, p_wrong\) at its start$"),
        ("uncertainty < ", "expected a number for uncertainty after 'uncertainty < '$"),
        ("uncertainty < much", "expected a number for uncertainty after 'uncertainty < ', before 'much'"),
        ("uncertainty < '1'", "expected a number for uncertainty"),
        ("path == 3", "expected text in quotes for path"),
        ("color == 'red'", r"expected a column \(path, .*before \"color == 'red'\""),
        ("uncertainty = 3", "nothing of a filter after 'uncertainty ', before '= 3'"),
        ("uncertainty like 'a'", "like is for text, and uncertainty is a number"),
        ("path 'a'", "expected ==, !="),
        ("path not 'a'", "expected in after"),
        ("path in []", "expected text in quotes for path after 'path in \\['"),
        ("path in ['a'", r"expected \] after"),
        ("(uncertainty < 1", r"expected \)"),
        ("uncertainty < 1) or (p_wrong > 0", r"expected and, or, or the end after 'uncertainty < 1', before '\) or"),
        ("uncertainty < 1 p_wrong > 0", "expected and, or, or the end"),
        ("path == 'a", "a quote that is never closed after 'path == '"),
        ("path == 'a\\n'", "a quote that is never closed"),
        ("uncertainty < 1; drop", "nothing of a filter after 'uncertainty < 1', before '; drop'"),
        ("uncertainty < 1.2.3", "nothing of a filter"),
        ("uncertainty < 1and", "nothing of a filter"),
        ("(" * (DEEPEST + 1) + "p_wrong > 0" + ")" * (DEEPEST + 1), "more than 32 parentheses"),
        ("not " * (DEEPEST + 1) + "p_wrong > 0", "more than 32 parentheses"),
        ("p_wrong > 0" + " " * LONGEST, "at most 4,096 characters"),
    ],
)
def test_a_filter_that_cannot_be_read_says_where(text, message):
    with pytest.raises(UsageError, match=message):
        read_filter(text, COLUMNS)


def test_many_wildcards_take_no_longer():
    rows = {"path": np.array(["a" * 2000] * 5)}
    assert not read_filter("path like '" + "%a" * 1500 + "%b'", ["path"]).mask(rows).any()


@pytest.mark.parametrize("text", ["1e-7", "-2.5E3", "+4", "1e999", "0.1"])
def test_numbers_are_written_without_exponents(text):
    expression = read_filter(f"uncertainty < {text}", COLUMNS).expression
    written = re.fullmatch(r"\(uncertainty < (-?\d+\.\d*)\)", expression)[1]
    assert np.float32(written) == np.float32(min(float(text), 3e38))


# What follows a tilde is a control character, which a filter that is written does not hold.
letters = st.characters(codec="utf-8", exclude_categories=["Cc"], exclude_characters="%~")


@given(st.text(letters, max_size=3), st.text(max_size=3))
def test_a_prefix_is_a_range_of_texts(prefix, text):
    quoted = '"' + prefix.replace("\\", "\\\\").replace('"', '\\"') + '%"'
    expression = read_filter(f"path like {quoted}", COLUMNS).expression
    assert "like" not in expression
    rows = {"path": np.array([text, prefix, prefix + text, prefix + chr(0x10FFFF), prefix[:-1]])}
    assert read_filter(expression, COLUMNS).mask(rows).tolist() == [row.startswith(prefix) for row in rows["path"]]
