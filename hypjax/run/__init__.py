"""A run on disk: its lock, manifest, checkpoints and metrics; and a trained model without its data."""
