"""A certificate authority, and the files that it makes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import trustme

from service.tls import TlsFiles
from tests.service.waiting import Changes

NAMES = ("tls_cert", "tls_key", "tls_client_ca")


class Pair(NamedTuple):
    """Paths of a certificate and its key."""

    cert: Path
    key: Path

    def files(self, client_ca: Path | None = None) -> TlsFiles:
        return TlsFiles(self.cert, self.key, client_ca, NAMES)


class Authority:
    """An authority whose certificates are files in a folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.made = trustme.CA()
        self.ca = folder / "ca.pem"
        self.made.cert_pem.write_to_path(str(self.ca))

    def issue(
        self,
        name: str = "server",
        *,
        expired: bool = False,
        names: Sequence[str] = ("localhost", "127.0.0.1"),
    ) -> Pair:
        """A pair for these hosts; of the same name it takes the place of the one before."""
        expires = datetime.now(UTC) - timedelta(days=1) if expired else None
        issued = self.made.issue_cert(*names, not_after=expires)
        pair = Pair(self.folder / f"{name}.pem", self.folder / f"{name}.key")
        put(pair.key, issued.private_key_pem.bytes())
        put(pair.cert, b"".join(blob.bytes() for blob in issued.cert_chain_pems))
        return pair


def put(path: Path, data: bytes) -> None:
    """Puts a file in place of another at once."""
    new = path.with_suffix(".new")
    new.write_bytes(data)
    os.replace(new, path)


class Told:
    """Keeps what is told of certificates, and lets a test wait for it."""

    def __init__(self) -> None:
        self.read: list[float] = []
        self.refused: list[str] = []
        self._changes = Changes()

    def certificate_read(self, name: str, expires_at: float) -> None:
        self.read.append(expires_at)
        self._changes.notify()

    def certificate_refused(self, name: str) -> None:
        self.refused.append(name)
        self._changes.notify()

    async def until_read(self, count: int) -> None:
        await self._changes.until(lambda: len(self.read) >= count)

    async def until_refused(self, count: int) -> None:
        await self._changes.until(lambda: len(self.refused) >= count)
