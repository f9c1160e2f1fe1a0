"""Builders of the names, versions, features and splits of TFDS's own, which need TensorFlow to prepare."""

import pytest

from hypjax.data import catalog
from tests.data import tiny

tfds = pytest.importorskip("tensorflow_datasets")


class Copy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Of an original in its folder."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, original, **options):
        self.original = original
        super().__init__(**options)

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(self.features()))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(split) for split in ("train", "test")}


class CaltechBirds2011(Copy, skip_registration=True):
    VERSION = tfds.core.Version("0.2.0")

    def features(self):
        return {
            "image": tfds.features.Image(),
            "image/filename": tfds.features.Text(),
            "label": tfds.features.ClassLabel(num_classes=200),
            "label_name": tfds.features.Text(),
            "bbox": tfds.features.BBoxFeature(),
            "segmentation_mask": tfds.features.Image(shape=(None, None, 1)),
        }

    def _generate_examples(self, split):
        root = self.original / "CUB_200_2011"
        chosen = (root / "train_test_split.txt").read_text().split("\n")
        for line, other in zip((root / "images.txt").read_text().splitlines(), chosen, strict=False):
            path = line.split()[1]
            if other.endswith("1") == (split == "train"):
                yield (
                    path,
                    {
                        "image": str(root / "images" / path),
                        "image/filename": path,
                        "label": int(path[:3]) - 1,
                        "label_name": path.split("/")[0][4:].lower(),
                        "bbox": tfds.features.BBox(0.1, 0.1, 0.9, 0.9),
                        "segmentation_mask": tiny.mask(),
                    },
                )


class Cars196(Copy, skip_registration=True):
    VERSION = tfds.core.Version("2.1.0")

    def features(self):
        names = [tiny.CARS_CLASSES.get(number, f"Other Car {number}") for number in range(1, 197)]
        return {
            "image": tfds.features.Image(),
            "label": tfds.features.ClassLabel(names=names),
            "bbox": tfds.features.BBoxFeature(),
            "id": tfds.features.Text(),
        }

    def _generate_examples(self, split):
        given = catalog.read("cars", str(self.original)).source
        for index in range(len(given)):
            if (index % 2 == 0) == (split == "train"):
                yield (
                    given.name(index),
                    {
                        "image": str(given.root / given.name(index)),
                        "label": given.class_names[given.labels[index]],
                        "bbox": tfds.features.BBox(0.1, 0.1, 0.9, 0.9),
                        "id": given.name(index),
                    },
                )


class StanfordOnlineProducts(Copy, skip_registration=True):
    def features(self):
        names = sorted([*tiny.SUPER_CLASSES, "table", "toaster"])
        return {
            "class_id": tfds.features.ClassLabel(num_classes=22634),
            "super_class_id/num": tfds.features.ClassLabel(num_classes=12),
            "super_class_id": tfds.features.ClassLabel(names=names),
            "image": tfds.features.Image(),
        }

    def _generate_examples(self, split):
        root = self.original / "Stanford_Online_Products"
        for row in (root / f"Ebay_{split}.txt").read_text().splitlines()[1:]:
            image, label, kind, path = row.split()
            yield (
                image,
                {
                    "class_id": int(label) - 1,
                    "super_class_id/num": int(kind) - 1,
                    "super_class_id": tiny.SUPER_CLASSES[int(kind) - 1],
                    "image": str(root / path),
                },
            )


BUILDERS = {"cub": CaltechBirds2011, "cars": Cars196, "sop": StanfordOnlineProducts}
