"""Pictures of a run: training curves, embeddings in the disk, galleries of neighbors, trees, reliability."""

from hypjax.plots.curves import PANELS, Panel, training_curves
from hypjax.plots.disk import disk
from hypjax.plots.gallery import gallery
from hypjax.plots.layers import layers
from hypjax.plots.reliability import degradation_response, risk_coverage_curve
from hypjax.plots.tree import choose_leaves, tree
