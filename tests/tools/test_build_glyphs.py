import csv
import re
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from PIL import Image, ImageFont

from hypjax.data.listing import ListedImages

TOOLS = Path(__file__).parents[2] / "tools"
SANS, SERIF = (Path(matplotlib.get_data_path(), "fonts", "ttf", f"DejaVu{face}.ttf") for face in ("Sans", "Serif"))
pytest.importorskip("fontTools")


@pytest.fixture
def glyphs(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import build_glyphs

    return build_glyphs


@pytest.fixture
def pen(monkeypatch):
    monkeypatch.syspath_prepend(TOOLS)
    import glyph_drawings

    return glyph_drawings


def design(glyphs, package, path, scripts="Latin Greek Cyrillic"):
    return glyphs.Design(package, "Bitstream Vera", path.name, scripts)


def test_a_font_draws_what_it_has_and_nothing_for_the_rest(pen):
    assert set(pen.drawings(SANS, ["A", " ", "一", "æ"])) == {"A", "æ"}


def test_characters_of_a_font_keep_their_sizes_in_the_middle_of_the_image(pen):
    drawn = pen.drawings(SANS, list("ABCDEFGHIJKLMNOPQRSTUVWXYZo"))
    assert drawn["o"].height < 0.85 * drawn["O"].height
    for ink in (drawn["o"], drawn["O"], Image.new("L", (300, 20), 255)):
        dark = np.argwhere(np.asarray(pen.centered(ink)) < 128)
        np.testing.assert_allclose(dark.mean(0), pen.SIZE / 2 - 0.5, atol=3)
        assert np.ptp(dark, axis=0).max() + 1 <= min(pen.LARGEST, max(ink.size))
        assert dark.min() >= 4
        assert dark.max() < pen.SIZE - 4


def test_ink_that_nobody_sees_is_none(pen):
    class Blank:
        def getmask2(self, character, mode):
            return Image.new("L", (5, 5), 3).im, (0, 0)

    assert pen.drawing(Blank(), "A") is None
    assert pen.drawing(ImageFont.truetype(SANS, 40), "A").getbbox() is not None


def test_lookalikes_leave_the_earlier_one(pen):
    latin, greek, cyrillic = "AOQc", "\u0391\u03a9", "\u0410\u0416\u0441"  # Alpha, Omega; A, Zhe, small Es
    kept = pen.distinguishable([SANS, SERIF], list(latin + greek + cyrillic))
    assert kept == ["A", "O", "Q", "c", "\u03a9", "\u0416"]


def test_what_looks_like_a_dropped_one_is_dropped(pen):
    assert pen.distinguishable([SANS], ["C", "\u0441"]) == ["C", "\u0441"]
    assert pen.distinguishable([SANS], ["C", "c", "\u0441"]) == ["C"]


def test_capital_and_small_letters_need_less_to_be_one(pen, monkeypatch):
    assert pen.distinguishable([SANS], list("CcEe")) == list("CEe")
    monkeypatch.setattr(pen, "ALIKE_SIZES", pen.ALIKE)
    assert pen.distinguishable([SANS], list("CcEe")) == list("CcEe")


def test_a_small_share_of_designs_does_not_make_characters_alike(pen, monkeypatch):
    monkeypatch.setattr(pen, "SHARE", 1.0)  # more than all of them
    assert pen.distinguishable([SANS], ["A", "\u0391"]) == ["A", "\u0391"]


def test_a_design_that_draws_two_letters_alike_draws_neither(pen):
    drawn = pen.drawings(SANS, list("ABo"))
    assert set(pen.own(drawn | {"C": drawn["B"]})) == {"A", "o"}


def test_a_design_counts_once(glyphs, monkeypatch):
    monkeypatch.setattr(glyphs, "FEWEST", 2)
    found = dict.fromkeys("AGR", ("block", "Latin"))
    fonts = {design(glyphs, "one", SANS): SANS, design(glyphs, "two", SERIF): SERIF}
    clone = glyphs.Design("three", "Bitstream Vera", "Clone.ttf", "Latin")
    assert {c: list(d) for c, d in glyphs.classes({**fonts, clone: SANS}, found).items()} == {
        c: ["DejaVuSans", "DejaVuSerif"] for c in "AGR"
    }
    assert glyphs.classes({clone: SANS, design(glyphs, "one", SANS): SANS}, found) == {}


def test_a_design_draws_its_own_scripts_only(glyphs, monkeypatch):
    monkeypatch.setattr(glyphs, "FEWEST", 1)
    found = {"R": ("block", "Latin"), "Ж": ("block", "Cyrillic")}
    assert list(glyphs.classes({design(glyphs, "one", SANS, "Cyrillic"): SANS}, found)) == ["Ж"]


def test_every_candidate_has_one_block_of_one_script(glyphs):
    found = glyphs.characters()
    assert found["q"] == ("Basic Latin, lowercase", "Latin")
    assert found["간"] == ("Hangul Syllables, kiyeok", "Hangul")
    assert found["犬"] == ("CJK Unified Ideographs", "Han")
    assert not {"ĳ", "\u0e31", "[", "~", "ぃ", "l"} & set(found)
    scripts = {}
    assert all(scripts.setdefault(block, script) == script for block, script in found.values())
    assert {s for d in glyphs.designs() for s in d.scripts.split()} == set(scripts.values())


def test_the_table_names_every_design_once_and_its_license(glyphs):
    table = glyphs.designs()
    assert len({d.name for d in table}) == len({(d.package, d.file) for d in table}) == len(table)
    licenses = {d.package: d.license for d in table}
    assert all(d.license and licenses[d.package] == d.license for d in table)
    assert not re.search("https?:|www", glyphs.TABLE.read_text(encoding="utf-8"))


def packages(folder):
    for package, path in (("fonts-one", SANS), ("fonts-two", SERIF)):
        (folder / package / "usr/share/doc" / package).mkdir(parents=True)
        (folder / package / path.name).symlink_to(path)
        (folder / package / "usr/share/doc" / package / "copyright").write_text("free")
        (folder / package / "usr/share/doc" / package / "changelog.Debian").write_text(f"{package} (1.2-3) stable")


def test_the_folder_is_a_source_and_the_same_each_time(glyphs, tmp_path, monkeypatch, capsys):
    packages(tmp_path / "fonts")
    table = tmp_path / "table.csv"
    names = [("fonts-one", SANS.name), ("fonts-two", SERIF.name), ("fonts-no", "No.ttf")]
    table.write_text("package,license,file,scripts\n" + "".join(f"{p},Vera,{f},Latin Greek\n" for p, f in names))
    monkeypatch.setattr(glyphs, "TABLE", table)
    monkeypatch.setattr(glyphs, "FEWEST", 2)
    monkeypatch.setattr(glyphs, "LEAST", 4)
    monkeypatch.setattr(
        glyphs, "characters", lambda: dict.fromkeys("AGR", ("block", "Latin")) | {"Ω": ("other", "Greek")}
    )
    for out in ("a", "b"):
        monkeypatch.setattr(
            sys, "argv", ["build_glyphs.py", "--out", str(tmp_path / out), "--fonts", str(tmp_path / "fonts")]
        )
        glyphs.main()
    assert "skipped: No.ttf of fonts-no" in capsys.readouterr().out
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*") if p.is_file())
    assert all((tmp_path / "a" / f).read_bytes() == (tmp_path / "b" / f).read_bytes() for f in files)
    assert "| fonts-two | 1.2-3 | Vera | DejaVuSerif |" in (tmp_path / "a/ATTRIBUTION.md").read_text()
    with (tmp_path / "a/listing.csv").open(encoding="utf-8") as listing:
        assert listing.readline() == "path,label,block,script\n"
        assert next(csv.reader(listing))[:2] == ["Latin/0041/DejaVuSans.png", "U+0041 LATIN CAPITAL LETTER A"]
    source = ListedImages(tmp_path / "a/listing.csv")
    assert list(source.level_names) == ["block", "script"]
    assert len(source.class_names) == 4
    assert len(source.labels) == len([f for f in files if f.suffix == ".png"])
