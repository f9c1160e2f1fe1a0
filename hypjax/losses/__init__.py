"""Losses: scalars from embeddings, labels and any pairwise distance.

Each is a pure function of arrays, 0 and finite when a batch holds no valid pair, and takes any geometry
through ``distance=``, a function ``([n, d], [m, d]) -> [n, m]``.
"""

from hypjax.losses.contrastive import pairwise_cross_entropy
from hypjax.losses.failure import failure_cross_entropy, nearest_is_wrong
from hypjax.losses.margin import margin, triplet
from hypjax.losses.uncertainty import (
    distance_uncertainty,
    radial_uncertainty,
    uncertainty_contrastive,
    uncertainty_margin,
)
