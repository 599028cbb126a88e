"""The store in a PostgreSQL database."""

from service.store.postgres.database import PostgresDatabase

__all__ = ["PostgresDatabase"]
