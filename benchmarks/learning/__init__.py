"""The learning figures, part by part: ``make bench-learning``."""
