"""The benchmarks from their extracted originals, in the folders that their archives make."""

import os
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int32

from hypjax.data.archives import ORIGINALS, as_numbers, first_file, read_lines, read_names, read_rows, read_structs
from hypjax.data.benchmarks import (
    CARS,
    CUB,
    IN_SHOP,
    SOP,
    bird,
    clothing_levels,
    kind_of_bird,
    make_of_car,
    parts_by_number,
    product,
)
from hypjax.data.errors import DataError
from hypjax.data.files import ImageFiles, require_files
from hypjax.data.source import dense


def read_cub(root: Path, *, shorter_side: int = 0) -> tuple[ImageFiles, Int32[np.ndarray, "n"]]:
    """CUB-200-2011 with the kind of bird as super-class.

    Args:
      root: its folder, `CUB_200_2011`.
      shorter_side: larger images are shrunk to it, in pixels; 0 for none.

    Returns:
      The source, and the part of each image, 0 for train and 2 for test.

    Raises:
      DataError: a list is missing or damaged, or listed images are not there.
    """
    paths = dict(read_rows(root / "images.txt", 2))
    numbers = dict(read_rows(root / "image_class_labels.txt", 2))
    unlabeled = [path for image, path in paths.items() if image not in numbers]
    if unlabeled:
        raise DataError(
            f"{root / 'image_class_labels.txt'}: {len(unlabeled)} images have no label, such as {unlabeled[0]}"
        )
    require_files(CUB.title, root / "images", list(paths.values()))
    ids, labels = dense(as_numbers(root / "image_class_labels.txt", [numbers[image] for image in paths]))
    folders = {label: path.rpartition("/")[0] for label, path in zip(labels.tolist(), paths.values(), strict=True)}
    names = [bird(folders[label]) for label in range(len(ids))]
    levels = [("kind", [kind_of_bird(name) for name in names])]
    source = ImageFiles(root / "images", list(paths.values()), labels, names, levels=levels, shorter_side=shorter_side)
    return source, parts_by_number(CUB, labels, ids - 1)


def read_cars(root: Path, *, shorter_side: int = 0) -> tuple[ImageFiles, Int32[np.ndarray, "n"]]:
    """Cars196 with the make as super-class, in either of its layouts.

    Args:
      root: the folder of `cars_annos.mat` and `car_ims`, or of the devkit, `cars_train` and `cars_test`.
      shorter_side: larger images are shrunk to it, in pixels; 0 for none.

    Returns:
      The source, and the part of each image, 0 for train and 2 for test.

    Raises:
      DataError: an annotation file is missing or damaged, or listed images are not there.
    """
    if (root / "cars_annos.mat").is_file() and (root / "car_ims").is_dir():
        class_names = read_names(root / "cars_annos.mat")
        listed = read_structs(root / "cars_annos.mat", "relative_im_path", "class")
    elif (root / "cars_annos.mat").is_file() and not (root / "cars_train").is_dir():
        raise DataError(f"{root} holds cars_annos.mat but not its images in car_ims/; unpack car_ims.tgz there")
    else:
        class_names = read_names(first_file(root, "devkit/cars_meta.mat", "cars_meta.mat"))
        listed = []
        for folder, *places in (
            ("cars_train", "devkit/cars_train_annos.mat", "cars_train_annos.mat"),
            ("cars_test", "cars_test_annos_withlabels.mat", "devkit/cars_test_annos_withlabels.mat"),
        ):
            twice = (root / folder / folder).is_dir()  # some copies are packed so
            rows = read_structs(first_file(root, *places), "fname", "class")
            listed += [(f"{folder}/{folder if twice else '.'}/{name}", number) for name, number in rows]
    paths = [os.path.normpath(path) for path, _ in listed]
    require_files(CARS.title, root, paths)
    ids, labels = dense(np.array([int(number) for _, number in listed]))
    if ids.min() < 1 or ids.max() > len(class_names):
        raise DataError(f"{root}: classes {ids.min()} to {ids.max()} are annotated, but {len(class_names)} have names")
    names = [class_names[number - 1] for number in ids]
    levels = [("make", [make_of_car(name) for name in names])]
    return (
        ImageFiles(root, paths, labels, names, levels=levels, shorter_side=shorter_side),
        parts_by_number(CARS, labels, ids - 1),
    )


def read_sop(root: Path, *, shorter_side: int = 0) -> tuple[ImageFiles, Int32[np.ndarray, "n"]]:
    """Stanford Online Products with its twelve super-classes.

    Args:
      root: its folder, `Stanford_Online_Products`.
      shorter_side: larger images are shrunk to it, in pixels; 0 for none.

    Returns:
      The source, and the part of each image, 0 for train and 2 for test.

    Raises:
      DataError: a list is missing or damaged, or listed images are not there.
    """
    lists = [root / "Ebay_train.txt", root / "Ebay_test.txt"]
    tables = [read_rows(path, 4, header=True) for path in lists]
    paths = [row[3] for table in tables for row in table]
    require_files(SOP.title, root, paths)
    numbers = np.concatenate(
        [as_numbers(path, [row[1] for row in table]) for path, table in zip(lists, tables, strict=True)]
    )
    ids, labels = dense(numbers)
    first = np.unique(labels, return_index=True)[1]  # an image of each class
    supers = [paths[image].partition("/")[0].removesuffix("_final") for image in first]
    names = [product(number, super_class) for number, super_class in zip(ids.tolist(), supers, strict=True)]
    source = ImageFiles(root, paths, labels, names, levels=[("super_class", supers)], shorter_side=shorter_side)
    return source, np.repeat(np.array([0, 2], np.int32), [len(table) for table in tables])


def read_in_shop(root: Path, *, shorter_side: int = 0) -> tuple[ImageFiles, Int32[np.ndarray, "n"]]:
    """In-Shop Clothes Retrieval with its categories and its own query and gallery sets.

    Args:
      root: the folder of `Eval/list_eval_partition.txt` and `img` or `Img/img`.
      shorter_side: larger images are shrunk to it, in pixels; 0 for none.

    Returns:
      The source, and the part of each image, 0 for train and 2 for query and gallery.

    Raises:
      DataError: the list is missing or damaged, or listed images are not there.
    """
    images, rows = list_in_shop(root)
    paths, items, status = zip(*rows, strict=True)
    names, labels = dense(np.array(items))
    categories = category_of_items(rows)
    source = ImageFiles(
        images,
        paths,
        labels,
        [str(name) for name in names],
        levels=clothing_levels([categories[str(name)] for name in names]),
        queries=np.array(status) == "query",
        shorter_side=shorter_side,
    )
    return source, np.where(np.array(status) == "train", 0, 2).astype(np.int32)


def list_in_shop(root: Path) -> tuple[Path, list[tuple[str, str, str]]]:
    """The images of In-Shop, all of them checked to be there.

    Returns:
      The folder that paths are below; path, item and `train`, `query` or `gallery` of each image.

    Raises:
      DataError: the list is missing or damaged, or listed images are not there.
    """
    path = first_file(root, *ORIGINALS["in_shop"].marks)
    rows = []
    lines = read_lines(path)
    for number, line in enumerate(lines, 1):
        words = line.rsplit(None, 2)
        if number <= 2 and (len(words) < 3 or words[2] == "evaluation_status"):
            continue  # the count, and the names of the columns
        if len(words) != 3 or words[2] not in ("train", "query", "gallery"):
            raise DataError(
                f"{path}, line {number}: expected an image, its item and train, query or gallery; got {line!r}"
            )
        rows.append((words[0], words[1], words[2]))
    if not rows:
        raise DataError(f"{path} lists no images")
    images = next((root / folder for folder in (".", "Img") if (root / folder / "img").is_dir()), root)
    require_files(IN_SHOP.title, images, [row[0] for row in rows])
    return images, rows


def category_of_items(rows: Sequence[tuple[str, str, str]]) -> dict[str, str]:
    """The category of each item from its images' paths, the one that most of them are in.

    >>> category_of_items([("img/WOMEN/Dresses/id_1/a.jpg", "id_1", "train")])
    {'id_1': 'WOMEN/Dresses'}
    """
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    for path, item, _ in rows:
        votes[item]["/".join(path.split("/")[1:-2])] += 1
    return {item: max(sorted(counts), key=counts.__getitem__) for item, counts in votes.items()}
