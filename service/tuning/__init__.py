"""Tunes a tail on activations, in a process of its own."""
