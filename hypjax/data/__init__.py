"""Data: sources, class-disjoint splits, class-balanced batches, transforms, and the packaged default set."""

import logging

# Grain says at import that a profiler of worker processes is missing; we use threads.
logging.getLogger("absl").addFilter(lambda record: "multiprocess worker profiling" not in record.getMessage())

from hypjax.data.emoji import Emoji  # noqa: E402
from hypjax.data.errors import DataError  # noqa: E402
from hypjax.data.source import Source, subset  # noqa: E402
