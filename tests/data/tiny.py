"""Tiny copies of the benchmarks in their true layouts: 8 x 8 JPEGs, the color of which says what they are."""

import io

import numpy as np
from PIL import Image
from scipy.io import savemat

CUB_CLASSES = {
    1: "001.Black_footed_Albatross",
    2: "002.Laysan_Albatross",
    9: "009.Brewer_Blackbird",
    26: "026.Bronzed_Cowbird",
    99: "099.Ovenbird",
    100: "100.Brown_Pelican",
    101: "101.White_Pelican",
    102: "102.Western_Wood_Pewee",
    150: "150.Sage_Thrasher",
    200: "200.Common_Yellowthroat",
}
CARS_CLASSES = {
    1: "AM General Hummer SUV 2000",
    2: "Acura RL Sedan 2012",
    3: "Acura TL Sedan 2012",
    8: "Aston Martin V8 Vantage Convertible 2012",
    9: "Aston Martin V8 Vantage Coupe 2012",
    98: "Eagle Talon Hatchback 1998",
    99: "FIAT 500 Abarth 2012",
    160: "McLaren MP4-12C Coupe 2012",
    195: "Volvo XC90 SUV 2007",
    196: "smart fortwo Convertible 2012",
}
SUPER_CLASSES = ("bicycle", "cabinet", "chair", "coffee_maker", "fan", "kettle", "lamp", "mug", "sofa", "stapler")
CLOTHES = ("WOMEN/Dresses", "WOMEN/Tees_Tanks", "MEN/Denim", "MEN/Shirts_Polos")
GREY, CMYK, CORRUPT = 3, 4, 5  # places in a data set of the images that are unlike the others
PER_CLASS = 8


def color(label, place):
    return (label % 256, 10 * place, 255 - label % 256)


def jpeg(label, place, kind="RGB", side=8):
    shade = Image.new("RGB", (side, side), color(label, place)).convert(kind)
    out = io.BytesIO()
    shade.save(out, "JPEG", quality=95)
    return out.getvalue()


def write(path, number, label, place):
    """Image `number` of a data set."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = jpeg(label, place, {GREY: "L", CMYK: "CMYK"}.get(number, "RGB"))
    path.write_bytes(data[: len(data) // 2] if number == CORRUPT else data)


def cub(folder):
    root = folder / "CUB_200_2011"
    images, labels, split = [], [], []
    for label, name in CUB_CLASSES.items():
        for place in range(PER_CLASS):
            number = len(images)
            path = f"{name}/{name[4:]}_{place:04}_{number}.jpg"
            write(root / "images" / path, number, label, place)
            images.append(f"{number + 1} {path}")
            labels.append(f"{number + 1} {label}")
            split.append(f"{number + 1} {place % 2}")
    (root / "images.txt").write_text("\n".join(images) + "\n")
    (root / "image_class_labels.txt").write_text("\n".join(labels) + "\n")
    (root / "train_test_split.txt").write_text("\n".join(split) + "\n")
    (root / "classes.txt").write_text("\n".join(f"{label} {name}" for label, name in CUB_CLASSES.items()) + "\n")
    return root


def _names():
    return np.array([CARS_CLASSES.get(number, f"Other Car {number}") for number in range(1, 197)], object)


def cars(folder):
    """The layout of one file, in order of classes."""
    root = folder / "stanford_cars"
    rows = []
    for label in CARS_CLASSES:
        for place in range(PER_CLASS):
            path = f"car_ims/{len(rows) + 1:06}.jpg"
            write(root / path, len(rows), label, place)
            rows.append((path, 1, 1, 7, 7, label, place % 2))
    fields = ("relative_im_path", "bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "test")
    savemat(root / "cars_annos.mat", {"annotations": _structs(fields, rows), "class_names": _names()})
    return root


def cars_devkit(folder):
    """The layout of the devkit: two folders, test labels in a file of their own, classes mixed."""
    root = folder / "cars"
    fields = ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")
    for part in ("train", "test"):
        rows = []
        for place in range(part == "test", PER_CLASS, 2):
            for label in CARS_CLASSES:
                name = f"{len(rows) + 1:05}.jpg"
                write(root / f"cars_{part}" / name, len(rows) if part == "train" else -1, label, place)
                rows.append((1, 1, 7, 7, label, name))
        (root / "devkit").mkdir(exist_ok=True)
        where = "devkit/cars_train_annos.mat" if part == "train" else "cars_test_annos_withlabels.mat"
        savemat(root / where, {"annotations": _structs(fields, rows)})
    savemat(root / "devkit" / "cars_meta.mat", {"class_names": _names()})
    return root


def _structs(fields, rows):
    records = np.zeros((1, len(rows)), [(field, object) for field in fields])
    for place, row in enumerate(rows):
        records[0, place] = row
    return records


def sop(folder):
    root = folder / "Stanford_Online_Products"
    root.mkdir(parents=True)
    number = 0
    for part, first in (("train", 1), ("test", 11319)):
        lines = ["image_id class_id super_class_id path"]
        for label in range(first, first + 10):
            kind = (label - first) % len(SUPER_CLASSES)
            for place in range(4):
                path = f"{SUPER_CLASSES[kind]}_final/{11_000_000 + label}_{place}.JPG"
                write(root / path, number, label, place)
                number += 1
                lines.append(f"{number} {label} {kind + 1} {path}")
        (root / f"Ebay_{part}.txt").write_text("\n".join(lines) + "\n")
    return root


def in_shop(folder, *, eval_folder="Eval", images="img"):
    """Items 1 to 8 to train on, 9 to 14 to test, each test item with two queries and three in the gallery."""
    root = folder / "In-shop Clothes Retrieval Benchmark"
    lines = []
    for item in range(1, 15):
        status = ["train"] * PER_CLASS if item <= 8 else ["query", "gallery", "gallery", "query", "gallery"]
        for place, part in enumerate(status):
            path = f"img/{CLOTHES[item % 4]}/id_{item:08}/{place:02}_1_front.jpg"
            write(root / images.removesuffix("img") / path, len(lines), item, place)
            lines.append(f"{path}  id_{item:08} {part}")
    table = root / eval_folder / "list_eval_partition.txt"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text("\n".join([str(len(lines)), "image_name item_id evaluation_status", *lines]) + "\n")
    return root


def mask():
    out = io.BytesIO()
    Image.new("L", (8, 8), 5).save(out, "PNG")
    return out
