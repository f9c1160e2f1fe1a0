"""A run on disk: its lock, manifest, checkpoints, metrics and results; the loop; a trained model without its data."""

from hypjax.run.run import Run
