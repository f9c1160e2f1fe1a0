"""Pictures, pages and lines for people."""
