"""Build a small folder of photographs from Tux Paint's stamps: `python tools/build_stamps.py --out data/stamps`.

Needs `apt-get` and `dpkg-deb` (to fetch the Debian package `tuxpaint-stamps-default`, GPL-2, without installing it) or
`--stamps DIR` with the unpacked package, and Pillow. What is cut out is laid on a white square of 192 pixels; a class
is a kind of thing (birds, fruit, tools), and the folders above it are its hierarchy. Drawings are left out:

    KIND/.../STAMP.png    `hypjax train --config hyp_uml:data=folder,data_dir=OUT`
"""

import argparse
import collections
import tempfile
from pathlib import Path

from debian_packages import unpacked
from PIL import Image

PACKAGE, STAMPS = "tuxpaint-stamps-default", "usr/share/tuxpaint/stamps"
DRAWN = {"cartoon", "symbols", "seasonal", "flags", "roadsigns", "clothes"}  # folders, and what is below them
SAME = ("_mirror", "_flip")  # other views of a stamp
SIZE, FEWEST = 192, 4


def write(folder: Path, out: Path) -> dict[str, int]:
    """Write the photographs of all kinds of which there are enough; how many of each."""
    kinds: dict[str, list[Path]] = collections.defaultdict(list)
    for path in sorted(folder.rglob("*.png")):
        kind = path.parent.relative_to(folder)
        if not DRAWN & {*kind.parts} and not path.stem.endswith(SAME):
            kinds[kind.as_posix()].append(path)
    kept = {kind: paths for kind, paths in kinds.items() if len(paths) >= FEWEST}
    for kind, paths in kept.items():
        (out / kind).mkdir(parents=True, exist_ok=True)
        for path in paths:
            on_white(path).save(out / kind / path.name)
    return {kind: len(paths) for kind, paths in kept.items()}


def on_white(path: Path) -> Image.Image:
    """A picture in the middle of a white square."""
    with Image.open(path) as opened:
        stamp = opened.convert("RGBA")
    side = max(stamp.size)
    square = Image.new("RGBA", (side, side), "white")
    square.alpha_composite(stamp, ((side - stamp.width) // 2, (side - stamp.height) // 2))
    return square.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)


def main() -> None:
    """Fetch, choose, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="an empty or new folder to write to")
    parser.add_argument("--stamps", type=Path, help="the package, unpacked before")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.stamps or Path(temporary, PACKAGE)
        if not arguments.stamps:
            unpacked([PACKAGE], Path(temporary))
        kinds = write(folder / STAMPS, arguments.out)
    if not kinds:
        raise SystemExit(f"{folder} has no stamps in {STAMPS}")
    print(f"{arguments.out}: {sum(kinds.values())} images of {len(kinds)} classes")


if __name__ == "__main__":
    main()
