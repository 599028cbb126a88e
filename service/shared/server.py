"""A Redis or Valkey server, which is asked while it answers, and left alone while it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from ssl import TLSVersion
from typing import Any, TypeVar

from redis.asyncio import (
    BlockingConnectionPool,
    Connection,
    Redis,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import NoPermissionError

from service.concurrency.circuit import Circuit
from service.concurrency.tasks import UninterruptedTasks
from service.logs import get_logger
from service.metrics import Metrics
from service.shared.address import RedisAddress
from service.tls import TlsFiles

MAX_CONNECTIONS = 16
"""Beyond them requests wait for one, in their time."""

LEAST_BYTES_PER_SECOND = 20e6
"""So much at least comes over a network that is worth asking over it."""

T = TypeVar("T")

log = get_logger(__name__)


class SharedServer:
    """What is asked of it either comes in time, or does not come: it raises nothing.

    It is asked for nothing that cannot be had elsewhere. After a failure it is left alone for a
    while, and the log says so once.

    Args:
        seconds: that an answer may take, beside the time for its bytes.
        tls: files for an address with TLS.
    """

    def __init__(
        self,
        address: RedisAddress,
        seconds: float,
        metrics: Metrics,
        tls: TlsFiles | None = None,
        circuit: Circuit | None = None,
    ) -> None:
        self.address = address
        self._seconds = seconds
        self._metrics = metrics
        self._circuit = circuit or Circuit()
        self._pool = _pool(address, seconds, tls)
        self._redis = Redis(connection_pool=self._pool)
        self._tasks = UninterruptedTasks()
        self._closed = self._probing = False
        metrics.shared_up.set_function(lambda: self._circuit.closed)

    @property
    def away(self) -> bool:
        """Whether it is not asked now."""
        return self._closed or self._circuit.blocked

    def start(self) -> None:
        """Looks at it in the background, so that the log says what is wrong with it."""
        self._probe()

    async def ask(
        self,
        work: Callable[[Redis], Awaitable[T]],
        nbytes: int = 0,
        deadline: float | None = None,
    ) -> T | None:
        """Returns what the work gives; None if it does not come in time.

        Args:
            nbytes: that are to be carried.
            deadline: of who asks, on the event loop's clock; half of the time until then is left.
        """
        entered = None if self._closed else self._circuit.enter()
        if entered is None:
            return None
        loop = asyncio.get_running_loop()
        began = loop.time()
        seconds = self._seconds + nbytes / LEAST_BYTES_PER_SECOND
        left = seconds if deadline is None else max(deadline - began, 0.0) / 2
        try:
            async with asyncio.timeout(min(seconds, left)):
                answer = await work(self._redis)
        except Exception as error:  # what a stranger's bytes make of the client is nearly any
            if isinstance(error, TimeoutError) and left < seconds:
                self._probe()  # who is in a hurry says nothing of it
            else:
                self._fail(entered, error)
            return None
        self._metrics.shared_seconds.observe(loop.time() - began)
        if self._circuit.succeed():
            log.info("the shared cache answers again", address=str(self.address))
            self._probe()
        return answer

    async def close(self) -> None:
        """Closes its connections."""
        await self._tasks.close()
        self._closed = True
        await self._redis.aclose()
        await self._pool.disconnect()

    def _fail(self, entered: int, error: Exception) -> None:
        if self._circuit.fail(entered):
            self._metrics.shared_failures.inc()
            log.warning(
                "the shared cache does not answer: each server has its own until it does",
                address=str(self.address),
                reason=_reason(error),
            )

    def _probe(self) -> None:
        if not self._probing:
            self._probing = True
            self._tasks.start(self._examine())

    async def _examine(self) -> None:
        """Warns if nothing bounds its memory: what is put there would fill the machine."""
        try:
            found = await self.ask(_memory)
        finally:
            self._probing = False
        if found is None:
            return
        bound, policy = found
        advice = None
        if not bound:
            advice = "set maxmemory, and maxmemory-policy allkeys-lru: its memory has no bound"
        elif policy == "noeviction":
            advice = "set maxmemory-policy allkeys-lru: once it is full it takes nothing new"
        if advice:
            log.warning("shared cache", address=str(self.address), advice=advice)


async def _memory(redis: Redis) -> tuple[int, str] | None:
    """Returns the bound on its memory, and what is done at it; None if it does not say."""
    try:
        found = await redis.info("memory")
    except NoPermissionError:
        return None
    bound = found.get("maxmemory")
    return None if bound is None else (int(bound), str(found.get("maxmemory_policy")))


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it takes too long"
    return f"{type(error).__name__}: {error}"


def _pool(address: RedisAddress, seconds: float, tls: TlsFiles | None) -> BlockingConnectionPool:
    options: dict[str, Any] = {
        "db": address.database,
        "username": address.username or None,
        "password": address.password or None,
        "protocol": 2,
        "driver_info": None,
        "retry": Retry(NoBackoff(), 0),
        "socket_timeout": None,  # `ask` knows how long
        "socket_connect_timeout": seconds,
    }
    if address.path:
        return BlockingConnectionPool(
            MAX_CONNECTIONS,
            timeout=None,
            connection_class=UnixDomainSocketConnection,
            path=address.path,
            **options,
        )
    options |= {"host": address.host, "port": address.port}
    kind: type[Connection] = Connection
    if address.tls:
        kind = SSLConnection
        options["ssl_min_version"] = TLSVersion.TLSv1_2
        if tls is not None:
            options |= {
                "ssl_ca_certs": None if tls.ca is None else str(tls.ca),
                "ssl_certfile": None if tls.cert is None else str(tls.cert),
                "ssl_keyfile": None if tls.key is None else str(tls.key),
            }
    return BlockingConnectionPool(MAX_CONNECTIONS, timeout=None, connection_class=kind, **options)
