"""Several configs over several seeds, side by side: what is compared, its figures, its tables."""

from hypjax.run.comparison.entries import Entry, check, differing, find_entries, read_entry, read_seeds
from hypjax.run.comparison.figures import METRICS, Cell, Comparison, collect, compare
from hypjax.run.comparison.tables import as_markdown, as_record, as_text, heading
