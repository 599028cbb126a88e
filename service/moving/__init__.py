"""``trunkline store copy``: a store from SQLite to PostgreSQL, and back."""

from service.moving.command import copy_main, migrate_main

__all__ = ["copy_main", "migrate_main"]
