"""Data: sources, class-disjoint splits, class-balanced batches, transforms, and the packaged default set."""

import logging

from hypjax.data.emoji import Emoji
from hypjax.data.errors import DataError
from hypjax.data.folder import ImageFolder
from hypjax.data.pipeline import evaluation_batches, train_batches
from hypjax.data.sampling import ClassBalanced
from hypjax.data.source import Source, require_pairs, subset
from hypjax.data.split import Splits, query_gallery, split_by_class
from hypjax.data.tfds import TfdsSource
from hypjax.data.transforms import DRAWINGS, PHOTOGRAPHS, EvaluationTransform, TrainTransform, degrade

# Grain says at import that a profiler of worker processes is missing; we use threads.
logging.getLogger("absl").addFilter(lambda record: "multiprocess worker profiling" not in record.getMessage())
