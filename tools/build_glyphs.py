"""Build a set of characters drawn by openly licensed typefaces: `python tools/build_glyphs.py --out data/glyphs`.

Needs `apt-get` and `dpkg-deb` (to fetch the fonts of `glyph_designs.csv` by package name, without installing them) or
`--fonts DIR` with one folder for each unpacked package; Pillow, NumPy and `pip install fonttools`. One class is one
character, one image is one design's own drawing of it, the hierarchy is character < block < script. Writes

    listing.csv            path,label,block,script: `python -m hypjax.train ...:data=folder,data_dir=OUT/listing.csv`
    SCRIPT/CODEPOINT/DESIGN.png   96 x 96 pixels, black on white
    ATTRIBUTION.md, licenses/     which packages drew this, and under which license

A block is a Unicode block, of scripts with two cases one case of it, of Hangul one initial consonant. The same packages
with the same Pillow give the same bytes.
"""

import argparse
import collections
import csv
import dataclasses
import gzip
import re
import tempfile
import unicodedata
from pathlib import Path

import numpy as np
from debian_packages import unpacked
from glyph_drawings import SAME, SIZE, centered, coarse, distinguishable, drawings, own
from PIL import Image

FEWEST, MOST = 4, 10  # designs of a class
LEAST = 300  # classes
KINDS = {"Lu": ", uppercase", "Ll": ", lowercase", "Lo": "", "Nd": ", digits"}
TABLE = Path(__file__).with_name("glyph_designs.csv")
# fmt: off
BLOCKS = (  # name, script, first, last; an earlier character wins over a later one that looks like it
    ("Basic Latin", "Latin", 0x30, 0x7A), ("Latin-1 Supplement", "Latin", 0xC0, 0xFF),
    ("Latin Extended-A", "Latin", 0x100, 0x17F), ("Greek and Coptic", "Greek", 0x386, 0x3CE),
    ("Cyrillic", "Cyrillic", 0x400, 0x45F), ("Armenian", "Armenian", 0x531, 0x586), ("Hebrew", "Hebrew", 0x5D0, 0x5EA),
    ("Arabic", "Arabic", 0x621, 0x64A), ("Devanagari", "Devanagari", 0x904, 0x939), ("Telugu", "Telugu", 0xC05, 0xC39),
    ("Malayalam", "Malayalam", 0xD05, 0xD39), ("Thai", "Thai", 0xE01, 0xE2E), ("Georgian", "Georgian", 0x10D0, 0x10F0),
    ("Khmer", "Khmer", 0x1780, 0x17A2), ("Hiragana", "Hiragana", 0x3042, 0x3093),
    ("Katakana", "Katakana", 0x30A2, 0x30F3),
)
# fmt: on
CASED = ("Latin", "Greek", "Cyrillic", "Armenian")
HAN = (  # the characters of Japan's first two years of school, which every Han font has
    "一右雨円王音下火花貝学気九休玉金空月犬見五口校左三山子四糸字耳七車手十出女小上森人水正生青夕石赤千川先早草足村大男竹中虫町天田土"
    "二日入年白八百文木本名目立力林六引羽雲園遠何科夏家歌画回会海絵外角楽活間丸岩顔汽記帰弓牛魚京強教近兄形計元言原戸古午後語工公広"
    "交光考行高黄合谷国黒今才細作算止市矢姉思紙寺自時室社弱首秋週春書少場色食心新親図数西声星晴切雪船線前組走多太体台地池知茶昼長鳥"
    "朝直通弟店点電刀冬当東答頭同道読内南肉馬売買麦半番父風分聞米歩母方北毎妹万明鳴毛門夜野友用曜来里理話"
)
REFUSED = (
    "0lヘベペ口力二工八夕"  # Unicode's confusables O, I, hiragana, katakana; fonts differ just enough for the measure
)
INITIALS, VOWELS, FINALS = "ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ", (0, 8, 20), (0, 4)  # Hangul: plain; a, o, i; none, n
ATTRIBUTION = """# Glyphs: attribution

Drawings of characters by the openly licensed typefaces of these Debian packages, rasterized at {size} x {size} pixels.
The typefaces remain under their own licenses, which lie in `licenses/`; no endorsement by their authors is implied.

| package | version | license | designs |
|---|---|---|---|
{rows}
"""


@dataclasses.dataclass(frozen=True)
class Design:
    """One typeface: its Debian package, license, font file, and the scripts that are its own work."""

    package: str
    license: str
    file: str
    scripts: str

    @property
    def name(self) -> str:
        """The file's name, in letters that any file system takes."""
        return re.sub("[^A-Za-z0-9]+", "-", Path(self.file).stem)


def designs() -> list[Design]:
    """The table's designs, in its order, which is that of preference."""
    with TABLE.open(encoding="utf-8", newline="") as table:
        return [Design(**row) for row in csv.DictReader(table)]


def characters() -> dict[str, tuple[str, str]]:
    """Block and script of every character that may become a class; no marks, no compatibility forms."""
    found = {}
    for block, script, first, last in BLOCKS:
        for character in map(chr, range(first, last + 1)):
            kind = unicodedata.category(character)
            if script not in CASED and " SMALL " in unicodedata.name(character, ""):
                continue  # kana like the large ones
            if kind in KINDS and not unicodedata.decomposition(character).startswith("<"):
                found[character] = (block + KINDS[kind] * (script in CASED), script)
    for initial in INITIALS:
        name = unicodedata.name(initial).rsplit(" ", 1)[1].lower()
        lead = "ㄱㄲㄴㄷㄸㄹㅁㅂㅃㅅㅆㅇㅈㅉㅊㅋㅌㅍㅎ".index(initial)
        for vowel in VOWELS:
            for final in FINALS:
                found[chr(0xAC00 + (lead * 21 + vowel) * 28 + final)] = (f"Hangul Syllables, {name}", "Hangul")
    found |= dict.fromkeys(HAN, ("CJK Unified Ideographs", "Han"))
    return {character: place for character, place in found.items() if character not in REFUSED}


def classes(fonts: dict[Design, Path], found: dict[str, tuple[str, str]]) -> dict[str, dict[str, Image.Image]]:
    """The images of each class: `{character: {design: image}}`, none of them drawn just so by an earlier design."""
    kept = distinguishable(list(fonts.values()), list(found))
    images: dict[str, dict[str, Image.Image]] = {c: {} for c in kept}
    looks: dict[str, list[np.ndarray]] = collections.defaultdict(list)
    for design, path in fonts.items():
        for script in design.scripts.split():
            drawn = own(drawings(path, [c for c in kept if found[c][1] == script]))
            for character, look in zip(drawn, coarse(list(drawn.values())), strict=True):
                new = all(look @ other < SAME for other in looks[character])
                if new and len(looks[character]) < MOST:
                    looks[character].append(look)
                    images[character][design.name] = centered(drawn[character])
    return {c: drawn for c, drawn in images.items() if len(drawn) >= FEWEST}


def located(wanted: list[Design], folder: Path) -> dict[Design, Path]:
    """The font file of each design whose package is there; the others are named in a line."""
    fonts = {}
    for design in wanted:
        paths = sorted(path for path in (folder / design.package).rglob(design.file) if path.is_file())
        if paths:
            fonts[design] = paths[0]
        else:
            print(f"skipped: {design.file} of {design.package}, which is not available")
    return fonts


def version(documents: Path) -> str:
    """The version of an unpacked package, from its changelog."""
    for path in sorted(documents.glob("changelog*"), key=lambda path: (not path.name.startswith("changelog.D"), path)):
        text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        first = re.match(r"\S+ \((\S+)\) ", text.decode("utf-8", "replace"))
        if first:
            return first[1]
    return "unknown"


def write_attribution(out: Path, folder: Path, used: list[Design]) -> None:
    """Packages, versions, licenses and designs, and the packages' own copyright files."""
    (out / "licenses").mkdir(exist_ok=True)
    rows = []
    for package in sorted({d.package for d in used}):
        mine = [d for d in used if d.package == package]
        documents = folder / package / "usr" / "share" / "doc" / package
        rows.append(f"| {package} | {version(documents)} | {mine[0].license} | {', '.join(d.name for d in mine)} |")
        for path in sorted(documents.glob("copyright*")):
            text = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
            (out / "licenses" / f"{package}.txt").write_bytes(text)
    text = ATTRIBUTION.format(size=SIZE, rows="\n".join(rows))
    (out / "ATTRIBUTION.md").write_text(text, encoding="utf-8")


def write_images(
    out: Path, images: dict[str, dict[str, Image.Image]], found: dict[str, tuple[str, str]]
) -> list[tuple[str, str, str, str]]:
    """The PNG files and their listing, whose rows are returned."""
    rows = []
    for character, drawn in images.items():
        block, script = found[character]
        label = f"U+{ord(character):04X} {unicodedata.name(character)}"
        folder = Path(script, f"{ord(character):04X}")
        (out / folder).mkdir(parents=True, exist_ok=True)
        for design, image in drawn.items():
            image.save(out / folder / f"{design}.png", optimize=True)
            rows.append((f"{folder.as_posix()}/{design}.png", label, block, script))
    with (out / "listing.csv").open("w", encoding="utf-8", newline="") as listing:
        csv.writer(listing, lineterminator="\n").writerows([("path", "label", "block", "script"), *rows])
    return rows


def main() -> None:
    """Fetch, draw, compare, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="an empty or new folder to write to")
    parser.add_argument("--fonts", type=Path, help="folder of packages unpacked before, one folder each")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder, table, found = arguments.fonts or Path(temporary), designs(), characters()
        if not arguments.fonts:
            unpacked(sorted({d.package for d in table}), folder)
        fonts = located(table, folder)
        images = classes(fonts, found)
        if len(images) < LEAST:
            raise SystemExit(
                f"{len(images)} classes of {FEWEST} designs; at least {LEAST} are needed: too few packages"
            )
        rows = write_images(arguments.out, images, found)
        drawn = {design for images_of in images.values() for design in images_of}
        write_attribution(arguments.out, folder, [d for d in fonts if d.name in drawn])
    scripts = collections.Counter(script for _, script in {(label, script) for _, label, _, script in rows})
    print(f"{arguments.out}: {len(rows):,} images of {len(images):,} classes; {dict(sorted(scripts.items()))}")


if __name__ == "__main__":
    main()
