"""Where a Redis or Valkey server is, and what it is shown."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

from service.addresses import is_loopback, join_address
from trunkline.connection.addresses import socket_path_fault

DEFAULT_PORT = 6379
FORMS = "redis://HOST:PORT/DATABASE, rediss://… (TLS) or unix:///PATH"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The parts of an address; as text it has no password.

    Attributes:
        path: of a Unix socket; empty for a port.
        database: its number.
    """

    tls: bool
    host: str
    port: int
    path: str
    database: int
    username: str
    password: str = field(repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Reads a URL.

        Raises:
            ValueError: it is none of those forms; the words do not quote the URL.
        """
        if not url.isprintable() or " " in url:
            raise ValueError(f"must be {FORMS}, without spaces")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            raise ValueError(f"must be {FORMS}; escape what is special in a password") from None
        if parts.scheme not in ("redis", "rediss", "unix") or parts.query or parts.fragment:
            raise ValueError(f"must be {FORMS}; escape what is special in a password")
        unix = parts.scheme == "unix"
        path = unquote(parts.path) if unix else ""
        database = "" if unix else parts.path.removeprefix("/")
        if unix and (not path.startswith("/") or parts.hostname or port):
            raise ValueError("a Unix socket is unix:///PATH")
        if fault := socket_path_fault(path):
            raise ValueError(f"the socket {fault}")
        if not unix and not parts.hostname:
            raise ValueError(f"names no host: must be {FORMS}")
        if database and not (database.isascii() and database.isdigit()):
            raise ValueError("the database after the port must be a number")
        return cls(
            tls=parts.scheme == "rediss",
            host=parts.hostname or "",
            port=port or DEFAULT_PORT,
            path=path,
            database=int(database or 0),
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )

    @property
    def is_open(self) -> bool:
        """Whether what is said to it can be read on the way, beyond this machine."""
        return not self.tls and not self.path and not is_loopback(self.host)

    def __str__(self) -> str:
        if self.path:
            return f"unix://{self.path}"
        scheme = "rediss" if self.tls else "redis"
        return f"{scheme}://{join_address(self.host, self.port)}/{self.database}"
