"""Prepares In-Shop for TFDS: `python -m hypjax.data.in_shop_builder --manual_dir FOLDER [--data_dir DIR]`.

FOLDER is what the archives of DeepFashion's In-shop Clothes Retrieval Benchmark unpack to, or the folder around it;
DIR is TFDS's own folder by default. TensorFlow is not needed. Read it with `data=tfds:in_shop,data_dir=DIR`.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from hypjax.data.archives import find
from hypjax.data.errors import DataError
from hypjax.data.originals import category_of_items, list_in_shop

SPLITS = ("train", "query", "gallery")


class InShop(tfds.core.GeneratorBasedBuilder):
    """In-Shop Clothes Retrieval: images of an item of clothing each, in a category such as `WOMEN/Dresses`.

    Splits are `train`, `query` and `gallery`; the items of the latter two are the same, and none of them is in the
    first. A record has `image` (as it is in its file), `item` (the number of the item), `category` and `path`.
    """

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = (
        "Unpack img.zip and list_eval_partition.txt of the In-shop Clothes Retrieval Benchmark."
    )

    def _info(self) -> tfds.core.DatasetInfo:
        features = {
            "image": tfds.features.Image(),
            "item": tfds.features.Scalar(np.int64),
            "category": tfds.features.Text(),
            "path": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description="DeepFashion's In-shop Clothes Retrieval Benchmark (Liu et al., CVPR 2016).",
            features=tfds.features.FeaturesDict(features),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        images, rows = list_in_shop(find("in_shop", str(dl_manager.manual_dir)))
        categories = category_of_items(rows)
        return {split: self._generate_examples(images, rows, categories, split) for split in SPLITS}

    def _generate_examples(
        self, images: Path, rows: Sequence[tuple[str, str, str]], categories: dict[str, str], split: str
    ) -> Iterator[tuple[str, dict[str, Any]]]:
        for path, item, status in rows:
            if status == split:
                yield (
                    path,
                    {
                        "image": (images / path).read_bytes(),
                        "item": int(item.removeprefix("id_")),
                        "category": categories[item],
                        "path": path,
                    },
                )


def prepare(manual_dir: str, data_dir: str = "") -> Path:
    """Prepares the data set, or leaves it as it is where it is prepared.

    Args:
      manual_dir: the unpacked originals.
      data_dir: where TFDS keeps its data; empty for its default.

    Returns:
      The folder of the prepared data set.

    Raises:
      DataError: the originals are not there, or not whole; looked at before anything is written.
    """
    root = find("in_shop", manual_dir)
    list_in_shop(root)
    builder = InShop(data_dir=data_dir or None, file_format="array_record")
    builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=root, try_download_gcs=False),
        file_format="array_record",
    )
    return Path(builder.data_path)


def main() -> None:
    """Reads the command line and prepares."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manual_dir", required=True, help="the folder of the unpacked originals")
    parser.add_argument("--data_dir", default="", help="where TFDS keeps its data; its own folder by default")
    given = parser.parse_args()
    try:
        print(f"In-Shop is prepared in {prepare(given.manual_dir, given.data_dir)}")
    except DataError as error:
        parser.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    main()
