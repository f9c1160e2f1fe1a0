"""Data: sources, class-disjoint splits, class-balanced batches, transforms, and the packaged default set."""

from hypjax.data.emoji import Emoji
from hypjax.data.errors import DataError
from hypjax.data.source import Source, subset
