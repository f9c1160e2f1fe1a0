"""Losses: terms for each anchor from distances, pairs and, where a loss takes it, uncertainty.

`pairs` says which references are positives and which negatives of each anchor, `hypjax.mining` chooses among them, a
loss gives `Terms`, and `mean` reduces those to the scalar whose gradient one takes. Arrays in, arrays out: any
distance of any geometry serves, none is asked for as a function.
"""

from hypjax.losses.contrastive import contrastive, pairwise_cross_entropy
from hypjax.losses.entailment import entailment
from hypjax.losses.failure import failure_cross_entropy, nearest_is_wrong
from hypjax.losses.hierarchy import hier
from hypjax.losses.hybrid import divergence, hybrid
from hypjax.losses.margin import margin, triplet
from hypjax.losses.memory import CrossBatchMemory, create_cross_batch_memory, references, remember
from hypjax.losses.multi_similarity import multi_similarity
from hypjax.losses.pairs import Pairs, pairs
from hypjax.losses.proxy import proxy_anchor, proxy_nca, soft_triple, soft_triple_regularizer
from hypjax.losses.softmax import nt_xent, supcon
from hypjax.losses.terms import Term, Terms, in_blocks, mean, per_anchor
from hypjax.losses.uncertainty import anchor_margin, anchor_temperature, distance_uncertainty, radial_uncertainty
