"""Addresses of stores that are no files."""

from __future__ import annotations

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

DRIVER = "postgresql+psycopg"
EXAMPLE = f"{DRIVER}://trunkline@db.example.org/trunkline"


def store_url(address: str) -> URL:
    """Reads the address of a PostgreSQL database.

    Raises:
        ValueError: it is none.
    """
    try:
        url = make_url(address)
    except (ArgumentError, ValueError) as error:
        raise ValueError(f"must be an address such as {EXAMPLE}") from error
    if url.drivername not in (DRIVER, "postgresql", "postgres"):
        raise ValueError(f"must be an address of PostgreSQL such as {EXAMPLE}")
    if not url.database:
        raise ValueError(f"must name a database, such as {EXAMPLE}")
    return url.set(drivername=DRIVER)


def shown_store(address: str) -> str:
    """Returns the address without its password."""
    shown = store_url(address)
    if "password" in shown.query:
        shown = shown.update_query_dict({"password": "***"})
    return shown.render_as_string(hide_password=True)
