"""Drawings of characters by fonts, and which of them look alike; for `build_glyphs.py`."""

import functools
import logging
import unicodedata
from pathlib import Path

import numpy as np
from fontTools.ttLib import TTFont
from PIL import Image, ImageFont

SIZE = 96
USUAL = 72  # pixels of the larger side that nine in ten characters of a script stay below: the font's own scale
LARGEST = 88  # pixels of the larger side; what is larger is shrunk
COARSE = 48  # side of the picture in which drawings are compared, each filling it
ALIKE = 0.97  # cosine from which on a design draws two characters alike
ALIKE_SIZES = 0.85  # the same for a capital and its small letter
SHARE = 1 / 3  # of the designs, from which on two characters are one class
SAME = 0.985  # cosine from which on two designs' drawings of a character are one
logging.getLogger("fontTools").setLevel(logging.ERROR)  # old fonts have harmless flaws


def drawing(font: ImageFont.FreeTypeFont, character: str) -> Image.Image | None:
    """A character's ink, white on black and cut to its borders; None if there is none."""
    mask, _ = font.getmask2(character, mode="L")
    ink = Image.frombytes("L", mask.size, bytes(mask)) if all(mask.size) else Image.new("L", (1, 1))
    box = ink.point(lambda value: 255 * (value >= 32)).getbbox()
    return ink.crop(box) if box else None


@functools.cache
def mapped(path: Path) -> frozenset[int]:
    """Codepoints of the characters that a font has, or the first font of a collection."""
    with TTFont(path, fontNumber=0, lazy=True) as tables:
        return frozenset(code for code, glyph in (tables.getBestCmap() or {}).items() if glyph != ".notdef")


def drawings(path: Path, wanted: list[str]) -> dict[str, Image.Image]:
    """Those of the wanted characters that a font draws, at one scale for all of them."""
    there = [c for c in wanted if ord(c) in mapped(path)]
    font = ImageFont.truetype(path, SIZE, layout_engine=ImageFont.Layout.BASIC)
    sides = [max(ink.size) for ink in (drawing(font, c) for c in there) if ink]
    if not sides:
        return {}
    font = font.font_variant(size=round(SIZE * USUAL / float(np.percentile(sides, 90))))
    drawn = {c: drawing(font, c) for c in there}
    return {c: ink for c, ink in drawn.items() if ink}


def centered(ink: Image.Image) -> Image.Image:
    """The finished image: black on white, shrunk only if too large."""
    scale = min(1, LARGEST / max(ink.size))
    if scale < 1:
        ink = ink.resize([max(1, round(side * scale)) for side in ink.size], Image.Resampling.LANCZOS)
    canvas = Image.new("L", (SIZE, SIZE))
    canvas.paste(ink, ((SIZE - ink.width) // 2, (SIZE - ink.height) // 2))
    return canvas.point(lambda value: 255 - value)


def coarse(inks: list[Image.Image]) -> np.ndarray:
    """What drawings look like whatever their size: a row each, of norm 1, whose products are cosines."""
    rows = np.zeros((len(inks), COARSE, COARSE), np.float32)
    for row, ink in zip(rows, inks, strict=True):
        scale = COARSE / max(ink.size)
        width, height = (max(1, round(side * scale)) for side in ink.size)
        left, top = (COARSE - width) // 2, (COARSE - height) // 2
        row[top : top + height, left : left + width] = ink.resize((width, height), Image.Resampling.BOX)
    flat = rows.reshape(len(inks), COARSE * COARSE)
    return flat / np.linalg.norm(flat, axis=1, keepdims=True)


def letter(character: str) -> str:
    """The name of a character without its size, the same for O and o."""
    return " ".join(w for w in unicodedata.name(character).split() if w not in ("CAPITAL", "SMALL"))


def distinguishable(fonts: list[Path], candidates: list[str]) -> list[str]:
    """The candidates without those that look like an earlier one, whatever their size.

    Two characters look alike if more than `SHARE` of the fonts with both draw them so. What differs in size only, such
    as O and o, gets thinner or thicker strokes when it fills the same square, so two sizes of a letter need less. Also
    what looks like a dropped one is dropped: Cyrillic Es, which is c, which is C.
    """
    both, alike = (np.zeros((len(candidates), len(candidates)), np.int32) for _ in range(2))
    places = {c: place for place, c in enumerate(candidates)}
    letters = np.array([letter(c) for c in candidates])
    enough = np.where(letters[:, None] == letters, ALIKE_SIZES, ALIKE)
    for path in fonts:
        drawn = drawings(path, candidates)
        rows = np.array([places[c] for c in drawn], int)
        looks = coarse(list(drawn.values()))
        both[np.ix_(rows, rows)] += 1
        alike[np.ix_(rows, rows)] += looks @ looks.T >= enough[np.ix_(rows, rows)]
    earlier = np.tril(alike > SHARE * both, -1).any(1)
    return [c for c, dropped in zip(candidates, earlier, strict=True) if not dropped]


def own(drawn: dict[str, Image.Image]) -> dict[str, Image.Image]:
    """The drawings of one script that the design gives to one character only: no boxes, no capitals for small."""
    looks = coarse(list(drawn.values()))
    alone = (looks @ looks.T >= SAME).sum(1) == 1
    return {c: ink for (c, ink), kept in zip(drawn.items(), alone, strict=True) if kept}
