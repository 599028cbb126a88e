"""``trunkline store copy``: a store from SQLite to PostgreSQL, and back."""

from service.moving.command import copy_main

__all__ = ["copy_main"]
