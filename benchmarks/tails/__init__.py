"""The figures of tails, part by part: ``make bench-tails``."""
