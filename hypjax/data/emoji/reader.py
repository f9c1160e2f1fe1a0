"""Reading the packaged emoji, an archive that `tools/build_emoji.py` wrote."""

import io
import json
import threading
import zipfile
from importlib import resources

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hypjax.data.errors import DataError
from hypjax.data.source import dense

SPLITS = ("train", "validation", "test")
SIZE = 96


class Emoji:
    """Emoji of the Unicode set, each drawn by two to six vendors; one class is one emoji.

    The hierarchy is emoji < subgroup < group. Splits are disjoint in classes, by a fixed hash of the codepoints:

    ==========  =======  ======
    split       classes  images
    ==========  =======  ======
    train       739      3,232
    validation  200      888
    test        970      4,282
    ==========  =======  ======

    >>> test = Emoji("test")
    >>> len(test), len(test.class_names), test.level_names
    (4282, 970, ['subgroup', 'group'])
    >>> test.name(0), test.class_names[0], test.image(0).shape
    ('noto/1F600', 'grinning face', (96, 96, 3))

    Args:
      split: `"train"`, `"validation"`, `"test"`, or `None` for all classes.

    Raises:
      ValueError: an unknown split.
      DataError: the archive in the installed package is missing or damaged.
    """

    def __init__(self, split: str | None = None) -> None:
        if split is not None and split not in SPLITS:
            raise ValueError(f"unknown split {split!r}; the emoji have {', '.join(SPLITS)}, or None for all")
        path = resources.files("hypjax.data.emoji") / "emoji.zip"
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(path.read_bytes()))
            index = json.loads(self._archive.read("index.json"))
        except (OSError, KeyError, zipfile.BadZipFile) as error:
            raise DataError(f"the packaged emoji cannot be read ({error}); reinstall hypjax") from error
        self._split, self._lock = split, threading.Lock()
        classes = [c for c in index["classes"] if split in (None, c["split"])]
        self.class_names = [c["name"] for c in classes]
        self.codepoints = [c["id"] for c in classes]
        self.level_names = ["subgroup", "group"]
        self.ancestor_names = []
        self.ancestors = np.zeros((len(classes), len(self.level_names)), np.int32)
        for level, level_name in enumerate(self.level_names):
            names, self.ancestors[:, level] = dense(np.array([c[level_name] for c in classes]))
            self.ancestor_names.append([str(name) for name in names])
        self._names = [f"{vendor}/{c['id']}" for c in classes for vendor in c["vendors"]]
        self.labels = np.repeat(np.arange(len(classes), dtype=np.int32), [len(c["vendors"]) for c in classes])

    def __reduce__(self) -> tuple[type["Emoji"], tuple[str | None]]:
        return Emoji, (self._split,)

    def __len__(self) -> int:
        return len(self._names)

    def image(self, index: int) -> UInt8[np.ndarray, "96 96 3"]:
        """The drawing at an index, on white."""
        with self._lock:
            data = self._archive.read(self._names[index] + ".webp")
        return np.array(Image.open(io.BytesIO(data)).convert("RGB"))

    def name(self, index: int) -> str:
        """Vendor and codepoints, such as `twemoji/1F600`."""
        return self._names[index]
