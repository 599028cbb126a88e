"""The store: tenants, heads, versions, examples, feedback and jobs, in SQLite.

`database` runs transactions; the other modules are plain functions on a connection, grouped by
what they store. `Database.write` and `Database.read` carry them out off the event loop.
"""

from service.store.database import Database

__all__ = ["Database"]
