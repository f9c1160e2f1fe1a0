"""Exact retrieval on arrays, indices, and figures: recall and its relatives, hierarchy, uncertainty and guarantees."""

from hypjax.retrieval.approximate import ApproximateIndex
from hypjax.retrieval.asking import Asked, answer_scores, ask
from hypjax.retrieval.calibration import Calibration, answered_at, calibrate_answers, deepest
from hypjax.retrieval.clustering import kmeans, mutual_information, nmi
from hypjax.retrieval.conformal import answer_counts, conformal_quantile
from hypjax.retrieval.index import Index, Neighbors
from hypjax.retrieval.lift import lift_gallery, lift_queries
from hypjax.retrieval.metrics import (
    HierarchyQuality,
    hierarchy_quality,
    map_at_r,
    r_precision,
    recall_at_k,
    relevant_counts,
)
from hypjax.retrieval.neighbors import knn
from hypjax.retrieval.probability import (
    Probability,
    Reliability,
    calibration_error,
    cross_fitted,
    fit_probability,
    reliability,
)
from hypjax.retrieval.promises import promise_figures
from hypjax.retrieval.risk import Guarantee, certify, clopper_pearson, fixed_sequence
from hypjax.retrieval.rows import Rows
from hypjax.retrieval.scoring import Retrieved, retrieval_figures
from hypjax.retrieval.shares import Blocks, Shares
from hypjax.retrieval.tree import Tree, class_midpoints, linkage_tree, proxy_tree, restrict
from hypjax.retrieval.tree_quality import RadiusOrder, TreeQuality, radius_order, tree_quality
from hypjax.retrieval.uncertainty import (
    area_under_risk_coverage,
    auroc,
    distance_ratio,
    false_positive_rate,
    risk_coverage,
    spearman,
    uncertainty_quality,
)
