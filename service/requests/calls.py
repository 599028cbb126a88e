"""One request on its way through the server, whatever transport it came by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeVar

from google.protobuf.message import Message

from service.access.caller import NOBODY, Caller
from service.access.rules import OPEN_TO_ALL, Rule
from service.errors import (
    DeadlineExceeded,
    RequestCancelled,
    Unavailable,
    is_expected,
    problem_of,
    reason_for_log,
    status_of,
    words_for_log,
)
from service.logs import get_logger
from service.metrics import Metrics
from service.requests.call import Call, new_request_id
from service.requests.names import tenant_of
from service.requests.trail import Trail

MAX_LOGGED_ROW_ERRORS = 10
LAST_MESSAGE_SECONDS = 0.1
"""Time for the end of an upload that is on its way to arrive at a server that stops."""

LEFT_SECONDS = 0.02
"""Time for gRPC to say whether the client of a stream that ended has left."""

M = TypeVar("M")

Handler = Callable[..., Any]
"""Takes a request message (or a stream of them) and a Call; returns a reply (or a stream)."""

log = get_logger(__name__)


def log_refusal(method: str, transport: str, error: Exception, caller: Caller) -> str:
    """Logs a request that reached no handler, under an id of its own; returns it.

    Args:
        caller: of requests of `NOBODY` only some are logged.
    """
    request_id = new_request_id()
    problem = problem_of(error)
    log.info(
        "request failed",
        request_id=request_id,
        method=method,
        transport=transport,
        code=problem.status.code.name,
        reason=reason_for_log(error),
        stranger=caller is NOBODY,
    )
    return request_id


class Calls:
    """Gives every request its id, deadline, metrics and log lines; ends it where the server stops.

    Attributes:
        draining: whether the server stops: nothing new is begun.
        trail: notes what is changed and refused.
    """

    def __init__(
        self, metrics: Metrics, default_timeout: float, *, log_requests: bool = False
    ) -> None:
        self._metrics = metrics
        self._log_requests = log_requests
        self._default_timeout = default_timeout
        self._in_flight = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._limits: dict[asyncio.Timeout, bool] = {}  # and whether it is that of a watch
        self._reads: set[asyncio.Timeout] = set()
        self._arriving: set[Callable[[Exception], None]] = set()
        self._asked = asyncio.Event()
        self._answering = asyncio.Event()
        self._answering.set()
        self.draining = False
        self.trail = Trail()

    @asynccontextmanager
    async def handle(
        self,
        method: str,
        transport: str,
        request: Message | None,
        *,
        request_id: str | None = None,
        timeout: float | None = None,
        upload: bool = False,
        watch: bool = False,
        local: bool = False,
        reply_bytes: int | None = None,
        caller: Caller,
        rule: Rule = OPEN_TO_ALL,
        peer: str = "",
    ) -> AsyncIterator[Call]:
        """Wraps the handling of one request.

        Args:
            request_id: made by the transport, which must send it also where this raises at once.
            timeout: seconds that the client gives it; the default when None.
            upload: a stream that may last as long as the client sends.
            watch: a stream that lasts as long as the client is connected; a stopping server
                ends it at once.
            local: whether it came from this machine.
            reply_bytes: what the client takes in one message.
            caller: who asks.
            rule: what the method needs.
            peer: address of the client.

        Raises:
            DeadlineExceeded: the deadline passed.
            Unavailable: the server stops.
        """
        started = time.perf_counter()
        lasting = upload or watch
        seconds = timeout if timeout is not None or lasting else self._default_timeout
        deadline = None if seconds is None else asyncio.get_running_loop().time() + seconds
        request_id = request_id or new_request_id()
        tenant = tenant_of(request)
        call = Call(
            *(method, transport, tenant, deadline, request_id, local, reply_bytes),
            caller=caller,
            rule=rule,
            peer=peer,
            upload=upload,
        )
        code = "OK"
        if not watch:
            self._in_flight += 1
            self._idle.clear()
        try:
            if self.draining:
                raise await self.refusal()
            async with asyncio.timeout_at(deadline) as limit:
                self._limits[limit] = watch
                try:
                    yield call
                    await self.trail.acknowledge(call)
                finally:
                    del self._limits[limit]
        except TimeoutError as error:
            if not limit.expired():  # some other timeout, deep inside
                code = self._record_error(call, error)
                raise
            late = (
                DeadlineExceeded.at("deadline", "{limit} s have passed", seconds)
                if limit.when() == deadline
                else stopping()
            )
            code = self._record_error(call, late)
            raise late from error
        except asyncio.CancelledError:
            code = self._record_error(call, RequestCancelled("the client left"))
            raise
        except Exception as error:
            code = self._record_error(call, error)
            raise
        finally:
            if not watch:
                self._in_flight -= 1
                if not self._in_flight:
                    self._idle.set()
            seconds = time.perf_counter() - started
            self._metrics.count_request(method, transport, code, call.tenant, seconds)
            if self._log_requests:
                log.debug("request", **_about(call), code=code, seconds=round(seconds, 6))

    def refused(self, method: str, error: Exception, call: Call) -> str:
        """Logs and counts a request that reached no handler; notes it if access was refused.

        Args:
            method: as the log names it.
            call: what is known of it.

        Returns:
            Its id.
        """
        call.request_id = log_refusal(method, call.transport, error, call.caller)
        code = status_of(error).code.name
        self._metrics.count_refusal(call.method, call.transport, code)
        self.trail.note_failure(call, error)
        return call.request_id

    def record_reply(self, call: Call, reply: Message) -> None:
        """Counts and logs the rows of a reply that failed, if it has rows."""
        errors: Sequence[Any] = getattr(reply, "errors", ())
        for error in errors[:MAX_LOGGED_ROW_ERRORS]:
            reason = words_for_log(error.message, error.value)
            log.info("row failed", **_about(call), row=error.row, code=error.code, reason=reason)
        for error in errors:
            self._metrics.count_rows(call.method, error.code, call.tenant, 1)

    async def upload(self, stream: AsyncIterator[M]) -> AsyncIterator[M]:
        """Yields the messages of a client's stream to its end, or until the server stops.

        Raises:
            Unavailable: the server stops; what it did not take has to be sent again.
        """
        while True:
            try:
                async with asyncio.timeout(
                    LAST_MESSAGE_SECONDS if self.draining else None
                ) as limit:
                    self._reads.add(limit)
                    try:
                        message = await anext(stream, None)
                    finally:
                        self._reads.remove(limit)
            except TimeoutError as error:
                if not limit.expired():
                    raise
                raise stopping() from error
            if message is None:
                # What a client that leaves has sent is not all that it meant to send.
                await asyncio.sleep(LEFT_SECONDS)
                return
            if self.draining:
                raise stopping()
            yield message

    @contextmanager
    def arriving(self, refuse: Callable[[Exception], None]) -> Iterator[None]:
        """Wraps the wait for a request that is not handled yet, until the last ones are refused.

        Args:
            refuse: ends the wait, if the server stops, and the request has not arrived.
        """
        self._arriving.add(refuse)
        timer: asyncio.TimerHandle | None = None
        if self.draining and self._answering.is_set():
            # What is on its way already is read: a refusal before that may be lost.
            loop = asyncio.get_running_loop()
            timer = loop.call_later(LAST_MESSAGE_SECONDS, refuse, stopping())
        try:
            yield
        finally:
            self._arriving.remove(refuse)
            if timer is not None:
                timer.cancel()

    def drain(self) -> None:
        """Refuses new requests and ends watches and uploads; other requests in flight go on."""
        if self.draining:
            return
        self.draining = True
        if self._in_flight or self._limits:
            self._asked.set()
        now = asyncio.get_running_loop().time()
        _expire((limit for limit, watch in self._limits.items() if watch), now)
        _expire(self._reads, now + LAST_MESSAGE_SECONDS)

    def drop(self) -> int:
        """Ends all requests in flight, with an error that says when to come again; how many."""
        _expire(self._limits, asyncio.get_running_loop().time())
        return len(self._limits)

    async def refusal(self) -> Unavailable:
        """Returns the error of a call that is not begun any more, as soon as it may be answered."""
        self._asked.set()
        await self._answering.wait()
        return stopping()

    async def read_up(self, stream: AsyncIterator[Any]) -> None:
        """Reads what a late upload sends, up to when it may be answered.

        That is just after a message, while none is on its way: a connection that is closed on what
        its client sends may lose the answer.
        """

        async def read() -> None:
            async for _ in stream:
                if self._answering.is_set():
                    return

        reading = asyncio.create_task(read())
        try:
            await self.refusal()
            await asyncio.wait([reading], timeout=LAST_MESSAGE_SECONDS)
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)  # the stream may be closed then

    async def hold(self, quiet_seconds: float) -> None:
        """Leaves whoever asks from now on without an answer; returns when nobody has for a while.

        A client that waits for its answer sends nothing, so that nothing is on its way when the
        connection is closed.
        """
        self._answering.clear()
        while self._asked.is_set():
            self._asked.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(quiet_seconds):
                    await self._asked.wait()

    def release(self) -> None:
        """Refuses those who were held, whose request has not arrived, and whoever still asks."""
        self.draining = True
        self._answering.set()
        for refuse in self._arriving:
            refuse(stopping())

    async def wait_until_idle(self, seconds: float) -> bool:
        """Waits until no request is in flight; False if some are left after `seconds`."""
        try:
            async with asyncio.timeout(seconds):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _record_error(self, call: Call, error: Exception) -> str:
        problem = problem_of(error)
        code = problem.status.code.name
        if problem.subject:
            self._metrics.count_quota_refusal(problem.field, call.tenant)
        if is_expected(error):
            reason = reason_for_log(error)
            log.info("request failed", **_about(call), code=code, reason=reason)
        else:
            log.error("request failed", **_about(call), code=code, exc_info=error)
        self.trail.note_failure(call, error)
        return code


def stopping() -> Unavailable:
    """Returns the error of what a stopping server does not do any more."""
    return Unavailable("the server is shutting down", retry_after=1.0)


def _expire(limits: Iterable[asyncio.Timeout], when: float) -> None:
    for limit in limits:
        if not limit.expired():
            limit.reschedule(when)


def _about(call: Call) -> dict[str, str]:
    return {
        "request_id": call.request_id,
        "method": call.method,
        "transport": call.transport,
        "tenant": call.tenant,
    }
