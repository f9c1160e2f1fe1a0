"""Filters such as `uncertainty < 0.4 and path like "2024/%"`: read once, for arrays and for databases.

    either      = both, "or", ..;     both = one, "and", ..;     one = "not" one | "(" either ")" | comparison
    comparison  = column ("==" | "!=" | "<" | "<=" | ">" | ">=") value
                | column "like" text             % stands for any characters, none too
                | column ["not"] "in" "[" value "," .. "]"

Values are numbers, and text in single or double quotes, where a backslash stands before a quote or another one. Numbers
are compared as float32 with what is stored so. Nothing that a user wrote goes on as it is: `Filter.expression` is made
anew.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, NoReturn

import numpy as np

from hypjax.data.errors import UsageError

TEXT = ("path", "label")
"""Columns of text; all others hold numbers."""
LONGEST = 4096  # characters of a filter
DEEPEST = 32  # parentheses and `not` within one another

Columns = Mapping[str, np.ndarray]


class Filter(NamedTuple):
    """A filter that was read.

    Attributes:
      mask: columns [n], by name, to what fulfills it, bool [n].
      expression: the same in the language of Milvus.
    """

    mask: Callable[[Columns], np.ndarray]
    expression: str


class _Word(NamedTuple):
    kind: str  # "text", "number", "sign", "name", or "end"
    value: Any
    start: int


_COMPARE: dict[str, Callable[[Any, Any], Any]] = {
    "==": np.equal,
    "!=": np.not_equal,
    "<": np.less,
    "<=": np.less_equal,
    ">": np.greater,
    ">=": np.greater_equal,
}
_WORDS = re.compile(
    r"""\s*(?:(?P<text>"(?:[^"\\]|\\["'\\])*"|'(?:[^'\\]|\\["'\\])*')"""
    r"|(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?(?![\w.]))"
    r"|(?P<sign>[<>=!]=|[<>()\[\],])"
    r"|(?P<name>[A-Za-z_]\w*)"
    r"|(?P<end>$))",
    re.ASCII,
)


def read_filter(text: str, columns: Sequence[str]) -> Filter:
    """Reads a filter.

    Examples:
      >>> chosen = read_filter("not uncertainty > .5 and path like 'a/%'", ["path", "uncertainty"])
      >>> chosen.expression
      '((not (uncertainty > 0.5)) and (path >= "a/" and path < "a0"))'
      >>> chosen.mask({"path": np.array(["a/b", "c"]), "uncertainty": np.array([0.1, 0.2])}).tolist()
      [True, False]

    Args:
      text: of the filter.
      columns: that there are.

    Raises:
      UsageError: it cannot be read, names another column, or compares text with a number; says where.
    """
    return _Reader(text, columns).whole()


class _Reader:
    """Goes over a filter from left to right, a function for each rule."""

    def __init__(self, text: str, columns: Sequence[str]) -> None:
        self._text, self._columns, self._depth = text, columns, 0
        if len(text) > LONGEST:
            raise UsageError(f"a filter has at most {LONGEST:,} characters, this one {len(text):,}")
        self._words = list(self._split())
        self._at = 0

    def _split(self) -> Any:
        start = 0
        while True:
            found = _WORDS.match(self._text, start)
            if not found:
                rest = self._text[start:]
                start += len(rest) - len(rest.lstrip())
                unclosed = self._text.startswith(("'", '"'), start)
                self._fail("a quote that is never closed" if unclosed else "nothing of a filter", start)
            kind = str(found.lastgroup)
            value: Any = found[kind]
            if kind == "text":
                value = re.sub(r"\\(.)", r"\1", value[1:-1])
                if re.search(r"[\x00-\x1f\x7f\ud800-\udfff]", value):
                    self._fail("a control character", found.start(kind))
            elif kind == "number":
                value = float(np.float32(min(max(float(value), -3e38), 3e38)))
            elif kind == "name":
                value = value if value in self._columns else value.lower()
            yield _Word(kind, value, found.start(kind))
            start = found.end()
            if kind == "end":
                return

    def _fail(self, what: str, start: int) -> NoReturn:
        before, after = self._text[max(0, start - 40) : start], self._text[start : start + 40]
        place = f"after {before!r}" if before else "at its start"
        raise UsageError(f"the filter cannot be read: {what} {place}" + (f", before {after!r}" if after else ""))

    def _take(self, *wanted: str) -> bool:
        word = self._words[self._at]
        if word.kind not in ("sign", "name") or word.value not in wanted:
            return False
        self._at += 1
        return True

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            self._fail(f"expected {sign}", self._words[self._at].start)

    def whole(self) -> Filter:
        chosen = self._either()
        if self._words[self._at].kind != "end":
            self._fail("expected and, or, or the end", self._words[self._at].start)
        return chosen

    def _either(self) -> Filter:
        return self._joined("or", self._both, np.logical_or)

    def _both(self) -> Filter:
        return self._joined("and", self._one, np.logical_and)

    def _joined(self, word: str, part: Callable[[], Filter], join: Callable[[Any, Any], Any]) -> Filter:
        parts = [part()]
        while self._take(word):
            parts.append(part())
        if len(parts) == 1:
            return parts[0]
        masks = [one.mask for one in parts]

        def mask(columns: Columns) -> np.ndarray:
            chosen = masks[0](columns)
            for more in masks[1:]:
                chosen = join(chosen, more(columns))
            return chosen

        return Filter(mask, f"({f' {word} '.join(one.expression for one in parts)})")

    def _one(self) -> Filter:
        start = self._words[self._at].start
        negated, nested = self._take("not"), False
        if not negated:
            nested = self._take("(")
        if not negated and not nested:
            return self._comparison()
        self._depth += 1
        if self._depth > DEEPEST:
            self._fail(f"more than {DEEPEST} parentheses within one another", start)
        chosen = self._one() if negated else self._either()
        if nested:
            self._need(")")
        self._depth -= 1
        return _negated(chosen) if negated else chosen

    def _comparison(self) -> Filter:
        word = self._words[self._at]
        if word.kind != "name" or word.value not in self._columns:
            self._fail(f"expected a column ({', '.join(self._columns)})", word.start)
        self._at += 1
        name = word.value
        if self._take("like"):
            return self._like(name)
        if self._take("not"):
            if not self._take("in"):
                self._fail("expected in", self._words[self._at].start)
            return _negated(self._among(name))
        if self._take("in"):
            return self._among(name)
        sign = self._words[self._at]
        if not self._take(*_COMPARE):
            self._fail("expected ==, !=, <, <=, >, >=, like or in", sign.start)
        value, compare = self._value(name), _COMPARE[sign.value]
        return Filter(lambda columns: compare(columns[name], value), f"({name} {sign.value} {_quoted(value)})")

    def _like(self, name: str) -> Filter:
        start = self._words[self._at].start
        if name not in TEXT:
            self._fail(f"like is for text, and {name} is a number,", start)
        parts = self._value(name).split("%")

        def mask(columns: Columns) -> np.ndarray:
            return np.fromiter((_fits(text, parts) for text in columns[name]), bool, len(columns[name]))

        return Filter(mask, f"({_liked(name, parts)})")

    def _among(self, name: str) -> Filter:
        self._need("[")
        values = [self._value(name)]
        while self._take(","):
            values.append(self._value(name))
        self._need("]")
        return Filter(
            lambda columns: np.isin(columns[name], np.array(values)),
            f"({name} in [{', '.join(map(_quoted, values))}])",
        )

    def _value(self, name: str) -> Any:
        word, wanted = self._words[self._at], "text" if name in TEXT else "number"
        if word.kind != wanted:
            self._fail(f"expected {'text in quotes' if name in TEXT else 'a number'} for {name}", word.start)
        self._at += 1
        return word.value


def _fits(text: str, parts: Sequence[str]) -> bool:
    """Whether the parts follow one another in a text, the first at its start and the last at its end."""
    first, *middle = parts
    if not middle:
        return text == first
    *middle, last = middle
    if not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        found = text.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return at <= end


def _liked(name: str, parts: Sequence[str]) -> str:
    """What `_fits` tells, said so that every version of Milvus takes it, but for patterns that are more than a prefix.

    Versions differ in whether an underscore is a wildcard, and how it is not to be one.
    """
    first, *others = parts
    if not others:
        return f"{name} == {quoted(first)}"
    if any(others):
        pattern = "%".join(parts).replace("\\", "\\\\").replace("_", "\\_")
        return f"{name} like {quoted(pattern)}"
    following = _following(first)
    return f"{name} >= {quoted(first)}" + (f" and {name} < {quoted(following)}" if following else "")


def _following(prefix: str) -> str:
    """The first text behind all that begin so; "" where there is none."""
    rest = prefix.rstrip(chr(sys.maxunicode))
    if not rest:
        return ""
    code = ord(rest[-1]) + 1
    return rest[:-1] + chr(0xE000 if code == 0xD800 else code)  # between them are no characters


def _negated(chosen: Filter) -> Filter:
    return Filter(lambda columns: ~chosen.mask(columns), f"(not {chosen.expression})")


def _quoted(value: str | float) -> str:
    """A value as Milvus reads it."""
    if isinstance(value, str):
        return quoted(value)
    return np.format_float_positional(value, trim="0")


def quoted(text: str) -> str:
    r"""Text in the quotes of a filter of Milvus.

    Examples:
      >>> print(quoted('a "b" \\ c'))
      "a \"b\" \\ c"
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
