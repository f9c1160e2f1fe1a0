"""The data sets that papers report on: their counts, which of their classes are for testing, their super-classes."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Integer

from hypjax.data.errors import DataError
from hypjax.data.source import Source, own_queries


class Counts(NamedTuple):
    """How many classes and images there are."""

    classes: int
    images: int

    def __str__(self) -> str:
        return f"{self.images:,} images of {self.classes:,} classes"


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """What is known of a data set before it is read.

    Attributes:
      title: its name, as its authors write it.
      train: of the training classes.
      test: of the test classes.
      first_test: number of the first test class, from 0, where class numbers tell; None where the data set says.
      queries: of the test images, those that ask.
      groups: of its classes, where they are published; 0 where names tell them, or nothing does.
    """

    title: str
    train: Counts
    test: Counts
    first_test: int | None = None
    queries: Counts | None = None
    groups: int = 0


# Song et al., "Deep Metric Learning via Lifted Structured Feature Embedding", CVPR 2016, for the first
# three; Liu et al., "DeepFashion", CVPR 2016, for the last.
CUB = Benchmark("CUB-200-2011", Counts(100, 5864), Counts(100, 5924), first_test=100)
CARS = Benchmark("Cars196", Counts(98, 8054), Counts(98, 8131), first_test=98)
SOP = Benchmark("Stanford Online Products", Counts(11318, 59551), Counts(11316, 60502), first_test=11318, groups=12)
IN_SHOP = Benchmark(
    "In-Shop Clothes Retrieval", Counts(3997, 25882), Counts(3985, 14218 + 12612), queries=Counts(3985, 14218)
)

# The makes of Cars196 that are not the first word of a class name.
TWO_WORD_MAKES = ("AM General", "Aston Martin", "Land Rover")


def bird(folder: str) -> str:
    """The name of a class of CUB from its folder, or from the text that the TFDS copy has.

    >>> bird("001.Black_footed_Albatross"), bird("black_footed_albatross")
    ('black footed albatross', 'black footed albatross')
    """
    return folder.rpartition(".")[2].replace("_", " ").lower()


def kind_of_bird(name: str) -> str:
    """The super-class of a class of CUB: the last word of its name [ours].

    >>> kind_of_bird("black footed albatross")
    'albatross'
    """
    return name.rpartition(" ")[2]


def make_of_car(name: str) -> str:
    """The super-class of a class of Cars196: who made it, as the first word says, or the first two [ours].

    The body is no level: fifteen names, such as `Jaguar XK XKR 2012`, say nothing of it.

    >>> make_of_car("Acura TL Sedan 2012"), make_of_car("Aston Martin Virage Coupe 2012")
    ('Acura', 'Aston Martin')
    """
    for make in TWO_WORD_MAKES:
        if name.startswith(f"{make} "):
            return make
    return name.partition(" ")[0]


def product(number: int, super_class: str) -> str:
    """A name for a class of SOP, which has none; numbers count from 1, as in its lists.

    >>> product(17, "bicycle")
    'bicycle 17'
    """
    return f"{super_class.replace('_', ' ')} {number}"


def clothing_levels(categories: Sequence[str]) -> list[tuple[str, Sequence[str]]]:
    """The hierarchy of In-Shop from the category of each class.

    >>> clothing_levels(["WOMEN/Dresses", "MEN/Denim"])
    [('category', ['WOMEN/Dresses', 'MEN/Denim']), ('department', ['WOMEN', 'MEN'])]
    """
    return [("category", list(categories)), ("department", [path.partition("/")[0] for path in categories])]


def parts_by_number(
    benchmark: Benchmark, labels: Integer[np.ndarray, "n"], numbers: Integer[np.ndarray, "classes"]
) -> Int32[np.ndarray, "n"]:
    """The part of each image, 0 for train and 2 for test, from its class's number.

    Args:
      benchmark: one whose class numbers tell.
      labels: dense classes of the images.
      numbers: of the classes, from 0.
    """
    return np.where(numbers[labels] >= benchmark.first_test, 2, 0).astype(np.int32)


def require_counts(benchmark: Benchmark, source: Source, parts: Integer[np.ndarray, "n"], where: str) -> None:
    """Check that a data set is whole, so that figures on it are those that papers report.

    Args:
      benchmark: what it should hold.
      source: what was read.
      parts: of each image, 0 for train and 2 for test.
      where: it was read, for the message.

    Raises:
      DataError: saying what is missing.
    """
    queries = own_queries(source)
    expected = {"train": benchmark.train, "test": benchmark.test}
    chosen = {"train": parts == 0, "test": parts == 2}
    if benchmark.queries is not None:
        expected["query"], chosen["query"] = (
            benchmark.queries,
            np.zeros(len(source), bool) if queries is None else queries,
        )
    wrong = []
    for part, wanted in expected.items():
        found = Counts(len(np.unique(source.labels[chosen[part]])), int(chosen[part].sum()))
        if found != wanted:
            wrong.append(f"{part} has {found} where there should be {wanted}")
    if wrong:
        raise DataError(
            f"{benchmark.title} in {where} is not whole: {'; '.join(wrong)}. Unpack or prepare it again; to train on a "
            "part of it, list its images (data=folder,data_dir=LIST.csv)"
        )
