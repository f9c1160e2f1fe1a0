"""Filters, each with what it says in Python of a `row`, a dict of columns."""

import re

from hypothesis import strategies as st

PATHS = ["2024/a.jpg", "2024/b_1.jpg", "2024/bx1.jpg", "2023/a.jpg", 'it\'s "a"\\b.png', "100%/é.png", "2024", ""]

comparison = st.builds(
    lambda name, sign, value: (f"{name} {sign} {value}", f"row[{name!r}] {sign} {value}"),
    st.sampled_from(["uncertainty", "p_wrong"]),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.sampled_from(["0", "0.5", "0.25", "1", "-2", "0.75"]),
)
of_text = st.builds(
    lambda sign, value: (f"path {sign} {value}", f"row['path'] {sign} {value}"),
    st.sampled_from(["==", "!=", "<", "<=", ">", ">="]),
    st.sampled_from(["'2024'", "'2024/bx1.jpg'", '"it\'s \\"a\\"\\\\b.png"', "''"]),
)
liked = st.builds(
    lambda parts: (
        "path like '" + "%".join(parts) + "'",
        f"bool(re.fullmatch({'.*'.join(map(re.escape, parts))!r}, row['path'], re.DOTALL))",
    ),
    st.lists(st.sampled_from(["", "2024", "/", "a", ".jpg", "_", "1"]), min_size=1, max_size=4),
)
filters = st.recursive(
    comparison | of_text | liked,
    lambda inner: (
        st.builds(
            lambda a, word, b: (f"({a[0]} {word} {b[0]})", f"({a[1]} {word} {b[1]})"),
            inner,
            st.sampled_from(["and", "or"]),
            inner,
        )
        | inner.map(lambda a: (f"not ({a[0]})", f"(not {a[1]})"))
    ),
    max_leaves=8,
)
