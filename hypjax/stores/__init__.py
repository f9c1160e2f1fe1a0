"""Embeddings and features kept in files, filled resumably."""
