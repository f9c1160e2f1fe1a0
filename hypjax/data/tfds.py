"""TFDS data sources as sources: random access to ArrayRecord files, without TensorFlow."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import UInt8

from hypjax.data.decode import decode
from hypjax.data.errors import DataError
from hypjax.data.source import dense

# Label and superclass of the data sets that do not call their label `label`.
FEATURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "stanford_online_products": ("class_id", ("super_class_id",)),
}


class TfdsSource:
    """Any sequence of dicts with an image and an integer label, such as `builder.as_data_source(split=...)`.

    Several sequences are laid end to end: TFDS has classification splits, which retrieval joins and splits anew by
    class. All labels are read once at the start; `decoders={"image": tfds.decode.SkipDecoding()}` makes that fast.

    >>> records = [{"image": np.zeros((4, 5, 3), np.uint8), "label": label} for label in (7, 7, 9)]
    >>> source = TfdsSource(records)
    >>> source.labels, source.class_names, source.image(0).shape, source.name(2)
    (array([0, 0, 1], dtype=int32), ['7', '9'], (4, 5, 3), 'record 2')

    Args:
      data_sources: the sequences; their images are uint8 `[h, w, 1 or 3]` or encoded bytes.
      image: key of the image.
      label: key of the label.
      ancestors: keys of the label's ancestors, nearest first.
      names: for any of these keys, the name of each number.

    Raises:
      DataError: a record lacks a key, there are no records, or one class has two ancestors.
    """

    def __init__(
        self,
        *data_sources: Sequence[Mapping[str, Any]],
        image: str = "image",
        label: str = "label",
        ancestors: Sequence[str] = (),
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._sources, self._image = data_sources, image
        self._places = [(source, i) for source in data_sources for i in range(len(source))]
        if not self._places:
            raise DataError("the TFDS data source has no records")
        keys = [label, *ancestors]
        first = self._places[0][0][0]
        missing = [key for key in (image, *keys) if key not in first]
        if missing:
            raise DataError(f"the records have no {', '.join(missing)}; they have {', '.join(sorted(first))}")
        numbers = np.array([[int(record[k]) for k in keys] for record in map(self._record, range(len(self)))])

        def named(key: str, ids: np.ndarray) -> list[str]:
            known = (names or {}).get(key)
            return [str(i) if known is None else str(known[i]) for i in ids]

        ids, self.labels = dense(numbers[:, 0])
        self.class_names = named(label, ids)
        self.level_names = list(ancestors)
        self.ancestor_names = []
        self.ancestors = np.zeros((len(ids), len(ancestors)), np.int32)
        for level, key in enumerate(ancestors):
            kept, column = dense(numbers[:, level + 1])
            self.ancestor_names.append(named(key, kept))
            self.ancestors[self.labels, level] = column
            torn = np.flatnonzero(self.ancestors[self.labels, level] != column)
            if torn.size:
                name = self.class_names[self.labels[torn[0]]]
                raise DataError(f"class {name!r} has more than one {key}; classes must form a tree")

    @classmethod
    def load(cls, name: str, data_dir: str = "") -> "TfdsSource":
        """Read all splits of a TFDS data set that was prepared as ArrayRecord.

        Args:
          name: of the data set, such as `caltech_birds2011` or `cars196:2.1.0`.
          data_dir: where it was prepared; empty for TFDS's default.

        Raises:
          DataError: TFDS does not know it, or it is not prepared there; nothing is downloaded.
        """
        import tensorflow_datasets as tfds  # seconds to import, and only this needs it

        try:
            builder = tfds.builder(name, data_dir=os.path.expanduser(data_dir) or None)
        except Exception as error:  # its registry raises many types
            raise DataError(
                f"TFDS has no data set {name!r}, and none is prepared in {data_dir or 'its folder'}"
            ) from error
        folder = builder.data_path
        if not builder.is_prepared():
            raise DataError(
                f"{name} is not prepared in {folder}; prepare it once, where TensorFlow is installed: "
                f"tfds build {name} --file_format=array_record --data_dir={folder.parent.parent}"
            )
        try:
            splits = builder.as_data_source(decoders={"image": tfds.decode.SkipDecoding()})
        except Exception as error:
            raise DataError(
                f"{folder} cannot be read ({str(error).splitlines()[0]}); prepare it as array_record"
            ) from error
        label, ancestors = FEATURES.get(builder.name, ("label", ()))
        features = builder.info.features
        names = {key: features[key].names for key in (label, *ancestors) if key in features and features[key].names}
        ordered = [splits[split] for split in sorted(splits)]
        return cls(*ordered, label=label, ancestors=ancestors, names=names)

    def __len__(self) -> int:
        return len(self._places)

    def _record(self, index: int) -> Mapping[str, Any]:
        source, place = self._places[index]
        return source[place]

    def image(self, index: int) -> UInt8[np.ndarray, "h w 3"]:
        """The image of a record. Raises `DataError` naming it when it does not decode."""
        image = self._record(index)[self._image]
        if isinstance(image, bytes):
            return decode(image, name=self.name(index))
        pixels = np.asarray(image)
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] not in (1, 3):
            raise DataError(f"{self.name(index)}: expected uint8 [h, w, 1 or 3]; got {pixels.dtype} {pixels.shape}")
        return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).copy()

    def name(self, index: int) -> str:
        """The number of the record, counted through all splits."""
        return f"record {index}"
