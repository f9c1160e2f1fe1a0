"""What openly licensed Debian packages hold, without installing them."""

import re
import shutil
import subprocess
from pathlib import Path


def unpacked(packages: list[str], folder: Path) -> None:
    """Fetch Debian packages by name and unpack each into a folder of its name."""
    for program in ("apt-get", "apt-cache", "dpkg-deb"):
        if not shutil.which(program):
            raise SystemExit(f"{program} not found: build on Debian, or give the unpacked packages")
    shown = subprocess.run(["apt-cache", "show", "--no-all-versions", *packages], capture_output=True, text=True)
    known = [p for p in packages if re.search(f"^Package: {re.escape(p)}$", shown.stdout, re.MULTILINE)]
    if not known:
        raise SystemExit("apt-cache knows none of the packages: run `apt-get update` first")
    fetched = subprocess.run(["apt-get", "download", "-q", *known], cwd=folder, capture_output=True, text=True)
    if fetched.returncode:
        raise SystemExit(f"apt-get download: {fetched.stderr.strip().rpartition(chr(10))[2]}")
    for package in known:
        archive = next(folder.glob(f"{package}_*.deb"))
        subprocess.run(["dpkg-deb", "-x", archive, folder / package], check=True)
        archive.unlink()
