"""Connections to PostgreSQL."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy
from sqlalchemy import URL, Engine, event

from service.errors import StartupError

APPLICATION = "trunkline"
"""What PostgreSQL is told that its client is."""
STATEMENT_SECONDS = 120
LOCK_SECONDS = 10
"""Time that one statement, and within it one lock, may take."""
IDLE_SECONDS = 60
"""Time that a transaction may wait for its server, which may have been cut off."""
CONNECT_SECONDS = 5

# So that a connection which was cut is given up within some 20 s, here and there.
_KEEPALIVES = {"keepalives_idle": 10, "keepalives_interval": 3, "keepalives_count": 3}

_ARGUMENTS = {
    "connect_timeout": CONNECT_SECONDS,
    "tcp_user_timeout": 1000 * 2 * LOCK_SECONDS,
    "application_name": APPLICATION,
    "client_encoding": "utf8",
    **_KEEPALIVES,
}


def connect_arguments(url: URL, password_file: Path | None = None) -> dict[str, Any]:
    """Returns what psycopg is told to connect to the store by itself.

    Raises:
        StartupError: there is no such file.
    """
    known: dict[str, Any] = {
        "host": url.host,
        "port": url.port,
        "user": url.username,
        "password": url.password,
        "dbname": url.database,
    }
    if password_file is not None:
        known["password"] = read_password(password_file)
    return {
        **_ARGUMENTS,
        **{name: value for name, value in known.items() if value is not None},
        **url.query,
    }


def open_engine(url: URL, password_file: Path | None = None, *, connections: int = 1) -> Engine:
    """Returns an engine on the store; it connects when it is asked for something.

    Args:
        password_file: is read whenever a connection is made; None for what libpq finds by itself.
        connections: at most.
    """
    engine = sqlalchemy.create_engine(
        url,
        pool_size=connections,
        max_overflow=0,
        connect_args={**_ARGUMENTS, **url.query},
    )
    # Rows that are inserted together go as one statement, and triggers count them once.
    engine.dialect.use_insertmanyvalues_wo_returning = True

    @event.listens_for(engine, "do_connect")
    def _add_password(_dialect: Any, _record: Any, _args: Any, arguments: dict[str, Any]) -> None:
        if password_file is not None:
            arguments["password"] = read_password(password_file)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, _record: Any) -> None:
        usual, connection.autocommit = connection.autocommit, True
        settings = {
            "statement_timeout": f"{STATEMENT_SECONDS}s",
            "lock_timeout": f"{LOCK_SECONDS}s",
            "idle_in_transaction_session_timeout": f"{IDLE_SECONDS}s",
            **{f"tcp_{name}": str(value) for name, value in _KEEPALIVES.items()},
        }
        names = ", ".join(f"set_config('{name}', %s, false)" for name in settings)
        connection.execute(f"SELECT {names}", list(settings.values()))
        connection.autocommit = usual

    return engine


def read_password(path: Path) -> str:
    """Reads a file with a password in its first line.

    Raises:
        StartupError: there is none.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise StartupError(f"store_password_file: {path} cannot be read: {error}") from error
    if not lines or not lines[0]:
        raise StartupError(f"store_password_file: {path} has no password in its first line")
    return lines[0]
