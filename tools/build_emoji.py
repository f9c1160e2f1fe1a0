"""Build the packaged emoji set: `python tools/build_emoji.py [--packages DIR] [--out DIR]`.

Needs `npm` (to fetch the designs by package name), Pillow and `pip install resvg_py`. One class is one emoji, one image
is one vendor's own drawing of it, the hierarchy is emoji < subgroup < group. Writes into the package

    hypjax/data/emoji/emoji.zip           index.json, and VENDOR/CODEPOINTS.webp for each image
    hypjax/data/emoji/ATTRIBUTION.md      who drew what, under which license, and what was changed
    hypjax/data/emoji/LICENSE-*.txt       the full license texts

The same packages with the same resvg and Pillow give the same bytes.
"""

import argparse
import dataclasses
import hashlib
import json
import re
import subprocess
import tarfile
import tempfile
import unicodedata
import zipfile
from collections.abc import Iterator
from pathlib import Path

from emoji_drawings import LEVELS, SIZE, distinct, encoded, rasterized, resolved

SPLITS = (("train", 0.4), ("validation", 0.5), ("test", 1.0))  # upper ends of the hash ranges
COMPONENT = 2  # the group of skin tones and hair styles, which are parts of emoji
REFUSED = {  # names that mean another emoji to this vendor: its wave is the sea, its bow a ribbon
    "fxemoji": ("bow", "couple", "down", "keyboard", "pout", "pouting", "up", "wave"),
}
SHORTCODES = ("cldr", "emojibase", "joypixels", "iamcal")
ATTRIBUTION = """# The packaged emoji: attribution

`emoji.zip` holds drawings from six openly licensed designs. Changes made to all of them: rasterized at
{size} x {size} pixels on white, colors rounded to {levels} levels a channel, stored as lossless WebP. Skin-tone
variants, and emoji drawn by one design only, are left out. The drawings remain under their own licenses; no
endorsement by their authors is implied.

| folder | design | author | source | npm package | license |
|---|---|---|---|---|---|
{rows}

{notes}

Names, groups and subgroups (`index.json`) come from `{unicode}`, Copyright (c) 2017-2019 Miles Johnson, MIT, which
derives them from the emoji data and CLDR of Unicode, Inc.

Full texts: `LICENSE-Apache-2.0.txt`, `LICENSE-CC-BY-4.0.txt`, `LICENSE-MIT-fluent-emoji.txt`,
`LICENSE-MIT-emojibase.txt`.
"""
UNICODE = "emojibase-data@17.0.0"
LICENSES = "spdx-license-list@6.12.0"


@dataclasses.dataclass(frozen=True)
class Design:
    """One vendor's drawings: the npm package, who holds the rights, and under which license."""

    vendor: str
    package: str
    title: str
    author: str
    home: str
    license: str
    note: str = ""


NOTO = "https://github.com/googlefonts/noto-emoji"
TWEMOJI = "https://github.com/jdecked/twemoji"
FLUENT = "https://github.com/microsoft/fluentui-emoji"
EMOJIONE = "https://github.com/EmojiTwo/emojitwo"
FXEMOJI = "https://github.com/mozilla/fxemoji"
NOTE = "The package declares Apache-2.0, its upstream puts the visual design under CC-BY-4.0; both texts are here."
# fmt: off
DESIGNS = (
    Design("noto", "@iconify-json/noto@1.2.9", "Noto Emoji", "Google Inc.", NOTO, "Apache-2.0"),
    Design("noto-v1", "@iconify-json/noto-v1@1.2.5", "Noto Emoji v1 (the blobs)", "Google Inc.", NOTO, "Apache-2.0"),
    Design("twemoji", "@iconify-json/twemoji@1.2.5", "Twemoji", "Twitter and contributors", TWEMOJI, "CC-BY-4.0"),
    Design("fluent", "@iconify-json/fluent-emoji-flat@1.2.6", "Fluent Emoji flat", "Microsoft", FLUENT, "MIT"),
    Design("emojione", "@iconify-json/emojione@1.2.3", "EmojiOne 2.3", "Emoji One", EMOJIONE, "CC-BY-4.0"),
    Design("fxemoji", "@iconify-json/fxemoji@1.2.2", "Firefox OS Emoji", "Mozilla", FXEMOJI, "Apache-2.0", NOTE),
)
# fmt: on


def fetch(package: str, folder: Path) -> dict[str, bytes]:
    """Files of an npm package such as `@scope/name@1.0`, by `npm pack` unless the folder already has it."""
    name, version = package.removeprefix("@").rsplit("@", 1)
    archive = folder / f"{name.replace('/', '-')}-{version}.tgz"
    if not archive.exists():
        command = ["npm", "pack", "--silent", package, "--pack-destination", str(folder)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    with tarfile.open(archive) as tar:
        files = [m for m in tar if m.isfile()]
        return {m.name.removeprefix("package/"): tar.extractfile(m).read() for m in files}  # type: ignore[union-attr]


def codepoints(sequence: str) -> str:
    """Canonical id of a codepoint sequence: upper case, without variation selectors."""
    return "-".join(part for part in sequence.upper().split("-") if part != "FE0F")


def normalized(name: str) -> str:
    """A name's letters and digits only, so that `flag: Åland Islands` meets `flag-for-aland-islands`."""
    name = name.replace("#", "hash").replace("*", "asterisk")
    ascii_name = unicodedata.normalize("NFKD", name.lower().replace("&", "and")).encode("ascii", "ignore").decode()
    return re.sub("^flagfor(flag)?", "flag", re.sub("[^a-z0-9]", "", ascii_name))


def emoji_table(unicode: dict[str, bytes]) -> dict[str, dict]:
    """Every emoji with a group, keyed by its id: default skin tone only, no components."""
    entries = json.loads(unicode["en/data.json"])
    return {codepoints(e["hexcode"]): e for e in entries if e.get("group", COMPONENT) != COMPONENT}


def name_table(
    emoji: dict[str, dict], unicode: dict[str, bytes], designs: dict[str, dict[str, bytes]]
) -> dict[str, str]:
    """Map every known normalized name to its emoji; names from surer places win."""
    table: dict[str, str] = {}

    def add(name: str, sequence: str) -> None:
        if codepoints(sequence) in emoji and normalized(name):
            table.setdefault(normalized(name), codepoints(sequence))

    for sequence, entry in emoji.items():
        add(entry["label"], sequence)
    for files in designs.values():
        chars = json.loads(files["chars.json"])
        for sequence, name in chars.items():
            add(name, sequence)
    for files in designs.values():
        chars = {name: sequence for sequence, name in json.loads(files["chars.json"]).items()}
        for alias, target in json.loads(files["icons.json"]).get("aliases", {}).items():
            if target.keys() == {"parent"} and target["parent"] in chars:  # neither flipped nor turned
                add(alias, chars[target["parent"]])
    for sequence, name in json.loads(unicode["meta/unicode-names.json"]).items():
        add(name, sequence)
    for file in SHORTCODES:
        for sequence, found in json.loads(unicode[f"en/shortcodes/{file}.json"]).items():
            for name in [found] if isinstance(found, str) else found:
                add(name, sequence)
    return table


def icons_of(vendor: str, files: dict[str, bytes], emoji: dict[str, dict], names: dict[str, str]) -> dict[str, str]:
    """Which icon of a design draws which emoji: `{emoji id: icon name}`."""
    chars = json.loads(files["chars.json"])
    if chars:
        return {codepoints(c): icon for c, icon in chars.items() if codepoints(c) in emoji}
    found: dict[str, str] = {}
    for icon in json.loads(files["icons.json"])["icons"]:
        if normalized(icon) in names and icon not in REFUSED.get(vendor, ()):
            found.setdefault(names[normalized(icon)], icon)
    return found


def split_of(emoji_id: str) -> str:
    """The split of a class, by a hash of its codepoints alone: the same for every build and machine."""
    unit = int.from_bytes(hashlib.sha256(emoji_id.encode()).digest()[:8], "big") / 2**64
    return next(name for name, end in SPLITS if unit < end)


def members(
    emoji: dict, unicode: dict[str, bytes], designs: dict[str, dict[str, bytes]]
) -> Iterator[tuple[str, bytes]]:
    """The archive's members: first the index, then the images class by class."""
    names = name_table(emoji, unicode, designs)
    drawn = {vendor: icons_of(vendor, files, emoji, names) for vendor, files in designs.items()}
    icons = {vendor: json.loads(files["icons.json"]) for vendor, files in designs.items()}
    groups = json.loads(unicode["meta/groups.json"])
    classes, images = [], []
    for emoji_id, entry in sorted(emoji.items(), key=lambda item: item[1]["order"]):
        drawings = {v: rasterized(resolved(icons[v], drawn[v][emoji_id])) for v in designs if emoji_id in drawn[v]}
        kept = distinct(drawings)
        if len(kept) < 2:
            continue
        record = {
            "id": emoji_id,
            "name": entry["label"],
            "subgroup": groups["subgroups"][str(entry["subgroup"])],
            "group": groups["groups"][str(entry["group"])],
            "split": split_of(emoji_id),
            "vendors": list(kept),
        }
        classes.append(record)
        images += [(f"{vendor}/{emoji_id}.webp", encoded(pixels)) for vendor, pixels in kept.items()]
    index = {
        "size": SIZE,
        "designs": {d.vendor: d.package for d in DESIGNS},
        "unicode": UNICODE,
        "classes": classes,
    }
    yield "index.json", json.dumps(index, ensure_ascii=False, separators=(",", ":")).encode()
    yield from images


def write_archive(path: Path, contents: Iterator[tuple[str, bytes]]) -> None:
    """A ZIP whose bytes depend on its contents alone."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents:
            info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED if name.endswith(".json") else zipfile.ZIP_STORED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)


def write_notices(out: Path, packages: Path, unicode: dict[str, bytes]) -> None:
    """The license texts and the attribution that they ask for."""
    texts = fetch(LICENSES, packages)

    def text(name: str) -> str:
        return json.loads(texts[f"licenses/{name}.json"])["licenseText"].strip() + "\n"

    for name in ("Apache-2.0", "CC-BY-4.0"):
        (out / f"LICENSE-{name}.txt").write_text(text(name), encoding="utf-8")
    microsoft = text("MIT").replace("<year> <copyright holders>", "Microsoft Corporation.")
    (out / "LICENSE-MIT-fluent-emoji.txt").write_text(microsoft, encoding="utf-8")
    (out / "LICENSE-MIT-emojibase.txt").write_bytes(unicode["LICENSE"])
    rows = [f"| `{d.vendor}/` | {d.title} | {d.author} | {d.home} | `{d.package}` | {d.license} |" for d in DESIGNS]
    notes = [f"{d.title}: {d.note}" for d in DESIGNS if d.note]
    attribution = ATTRIBUTION.format(
        size=SIZE, levels=LEVELS + 1, rows="\n".join(rows), notes="\n".join(notes), unicode=UNICODE
    )
    (out / "ATTRIBUTION.md").write_text(attribution, encoding="utf-8")


def main() -> None:
    """Fetch, match, rasterize, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--packages", type=Path, help="folder of packages fetched before; missing ones are added")
    default = Path(__file__).parent.parent / "hypjax" / "data" / "emoji"
    parser.add_argument("--out", type=Path, default=default, help="where to write (default: into the package)")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as temporary:
        packages = arguments.packages or Path(temporary)
        unicode = fetch(UNICODE, packages)
        designs = {d.vendor: fetch(d.package, packages) for d in DESIGNS}
        write_archive(arguments.out / "emoji.zip", members(emoji_table(unicode), unicode, designs))
        write_notices(arguments.out, packages, unicode)
    print(f"{arguments.out / 'emoji.zip'}: {(arguments.out / 'emoji.zip').stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
