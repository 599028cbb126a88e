"""Heads in memory, and how they score."""
