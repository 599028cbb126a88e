"""Fits a head on embeddings, in a process of its own."""
