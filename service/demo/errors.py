"""The error that ends the demo early."""

from __future__ import annotations


class DemoError(Exception):
    """A step failed, or something the demo needs is missing; the message says what."""
