"""Miners: from distances and pairs to pairs, by choosing or by weighing, without a gradient.

One after the other they compose: ``hard_negative(d, easy_positive(d, pairs))`` is a triplet of each anchor. All are
deterministic: where the literature draws a pair at random, the weights are the probabilities of the draw, so that a
loss sees its expectation [ours].
"""

from hypjax.mining.negatives import distance_weighted_negative, hard_negative, negative_distance, semihard_negative
from hypjax.mining.pairing import multi_similarity_pairs
from hypjax.mining.positives import easy_positive, hard_positive
