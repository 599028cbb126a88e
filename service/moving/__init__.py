"""``trunkline store …``: a store from SQLite to PostgreSQL and back, or to a newer schema."""

from service.moving.command import copy_main, migrate_main

__all__ = ["copy_main", "migrate_main"]
