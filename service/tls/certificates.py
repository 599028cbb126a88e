"""Certificates that are read again when their files change, while the server runs.

A handshake takes what is current then; connections that are open keep what they began with. What
cannot be used changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Any, Protocol

import grpc
from watchfiles import awatch

from service.logs import get_logger
from service.tls.files import InvalidCertificate, TlsFiles, folders_of, read
from trunkline.connection.tls import system_roots

SETTLE_MS = 200
"""Files are read when nothing has changed for so long: a key is often written after its
certificate."""

log = get_logger(__name__)


class ReloadMetrics(Protocol):
    """What is told of certificates; `name` is that of the setting."""

    def certificate_read(self, name: str, expires_at: float) -> None:
        """One is used from now on, which expires at this time, in seconds since 1970."""

    def certificate_refused(self, name: str) -> None:
        """What the files hold now cannot be used."""


class Certificates:
    """What the files of TLS hold: at first, and again after every change once `follow` is called.

    Attributes:
        current: what new handshakes take.

    Raises:
        InvalidCertificate: the files cannot be used.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._name = files.names[0] if files.cert else files.names[2]
        self._contents = files.contents()
        self.current = read(files)
        self._on_change: list[Callable[[], None]] = []
        self._follower: asyncio.Task[None] | None = None

    def on_change(self, do: Callable[[], None]) -> None:
        """Has something done, on the event loop, whenever `current` has changed."""
        self._on_change.append(do)

    def follow(self, metrics: ReloadMetrics) -> None:
        """Reads the files again whenever they change, until `close`."""
        self._tell(metrics)
        if not self._files.paths:  # the system's authorities alone
            return
        self._follower = asyncio.create_task(self._follow(metrics))

    async def close(self) -> None:
        """Follows no more."""
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])

    def server_credentials(self) -> grpc.ServerCredentials:
        """Returns credentials of one gRPC port, which takes what is current at each handshake.

        grpcio asks for it in a thread of its own that holds the handshake up: so nothing is read
        there. Credentials know what they have handed out, so each port needs its own.
        """
        given = self._server_config()
        handed_out = self.current

        def fetch() -> Any:  # grpc's types say that it may not be None
            nonlocal handed_out
            if self.current is handed_out:
                return None
            handed_out = self.current
            return self._server_config()

        return grpc.dynamic_ssl_server_credentials(
            given, fetch, require_client_authentication=self._files.ca is not None
        )

    def channel_credentials(self) -> grpc.ChannelCredentials:
        """Returns credentials of a gRPC client, from what is current now."""
        return grpc.ssl_channel_credentials(
            self.current.ca or system_roots(), self.current.key, self.current.chain
        )

    def _server_config(self) -> grpc.ServerCertificateConfiguration:
        current = self.current
        return grpc.ssl_server_certificate_configuration(
            [(current.key or b"", current.chain or b"")], root_certificates=current.ca
        )

    async def _follow(self, metrics: ReloadMetrics) -> None:
        try:
            while True:
                with suppress(FileNotFoundError):  # a folder went: another is watched for it
                    await self._await_change(metrics)
        except Exception as error:  # such as no more watches (inotify) for this user
            log.exception(
                "certificates are not followed: a change needs a restart", reason=str(error)
            )

    async def _await_change(self, metrics: ReloadMetrics) -> None:
        folders = await asyncio.to_thread(self._folders)
        watch = awatch(*folders, watch_filter=None, step=SETTLE_MS, recursive=False)
        async with aclosing(watch) as changes:
            change = asyncio.ensure_future(anext(changes))
            await asyncio.sleep(0)  # it watches from here on: nothing is missed
            try:
                await self._read_again(metrics)
                await change
            finally:
                change.cancel()
                await asyncio.gather(change, return_exceptions=True)

    def _folders(self) -> set[str]:
        return {str(folder) for path in self._files.paths for folder in folders_of(path)}

    async def _read_again(self, metrics: ReloadMetrics) -> None:
        contents = await asyncio.to_thread(self._files.contents)
        if contents == self._contents:
            return
        try:
            material = await asyncio.to_thread(read, self._files)
        except InvalidCertificate as error:
            if contents == await asyncio.to_thread(self._files.contents):
                self._contents = contents
                log.error("certificate not changed", reason=str(error))
                metrics.certificate_refused(self._name)
            return
        if contents != await asyncio.to_thread(self._files.contents):
            return  # it changed meanwhile, which is seen next
        self._contents, self.current = contents, material
        log.info("certificate changed", setting=self._name)
        self._tell(metrics)
        for do in self._on_change:
            do()

    def _tell(self, metrics: ReloadMetrics) -> None:
        expires_at = self.current.expires_at
        if expires_at is None:
            return
        metrics.certificate_read(self._name, expires_at)
        if expires_at < time.time():
            log.warning("certificate has expired", setting=self._name)


def certificates_of(files: TlsFiles | None) -> Certificates | None:
    """Returns what the files hold; None where none are named."""
    return None if files is None else Certificates(files)
