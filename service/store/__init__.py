"""The store: tenants, heads, versions, examples, feedback and jobs.

`database` says what runs transactions, and `opening` opens it; the other modules are plain
functions on a connection, grouped by what they store. `Database.write` and `Database.read` carry
them out off the event loop.
"""

from service.store.database import Database
from service.store.opening import open_database

__all__ = ["Database", "open_database"]
