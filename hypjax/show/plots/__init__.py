"""Pictures of a run: training curves, embeddings in the disk, galleries of neighbors, trees, reliability.

Each function draws into the axes that it is given, or into a figure of its own, in the style that is set where it is
called. It returns the figure and writes nothing.
"""

from hypjax.show.plots.ancestors import ancestors
from hypjax.show.plots.comparison import comparison
from hypjax.show.plots.curves import PANELS, Panel, training_curves
from hypjax.show.plots.disk import disk
from hypjax.show.plots.gallery import gallery
from hypjax.show.plots.layers import layers
from hypjax.show.plots.reliability import degradation_response, reliability_diagram, risk_coverage_curve
from hypjax.show.plots.tree import choose_leaves, tree
