"""Capturing: which inputs of the traffic are kept for people to look at, and how it is done."""
