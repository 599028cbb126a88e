"""One budget for the bytes of requests, on both transports, from their arrival to their reply.

Who sends slowly must not keep out who sends at once. So what takes longer than `PROMPT_SECONDS` to
arrive is *late*, and late requests may hold `LATE_SHARE` of the budget; beyond that they are
refused. The rest turns over: whatever holds it is soon complete, late, or refused. Connections
take turns with it, so that one with many calls delays another's call by one of them. Those whose
last request was late, or never came, are *tardy*: they have their turn when nobody else waits.

Timers here get an empty context: a cancelled one stays with the event loop until its time, and
would keep its request in memory as long.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from contextvars import Context
from typing import TypeVar

from service.errors import QueueFull, RequestTimeout

PROMPT_SECONDS = 0.25
HURRIED_SECONDS = 0.05
"""The same for what holds room before anything of it has arrived, while others wait for room."""

LATE_SHARE = 0.75
WAIT_SECONDS = 5.0
"""How long a request waits for room before it is refused."""

RETRY_SECONDS = 1.0

LARGE_BYTES = 1024 * 1024
"""Allocators keep what requests of this size took."""

MAX_TARDY = 65_536
"""Connections that are remembered as tardy; the oldest are forgotten."""

T = TypeVar("T")
_Waiting = tuple[int, asyncio.Future[None]]
_Queue = OrderedDict[Hashable, deque[_Waiting]]


class ReceivingBudget:
    """Bytes that requests hold, in all.

    Args:
        most: bytes of all requests together.
        seconds: in which a body or a message must have arrived.
        ended: called with the bytes of a large request that holds them no longer.
        what: is bounded so, and by which setting; a refusal says it.

    Attributes:
        held: bytes that requests hold now.
        late: those of them whose requests are still arriving after `PROMPT_SECONDS`.
    """

    def __init__(
        self,
        most: int,
        seconds: float,
        ended: Callable[[int], object] | None = None,
        what: str = "requests are held at once (max_receiving_bytes)",
    ) -> None:
        self.seconds = seconds
        self.held = 0
        self.late = 0
        self._most = most
        self._ended = ended
        self._what = what
        self._waiting: _Queue = OrderedDict()
        self._behind: _Queue = OrderedDict()  # tardy connections
        self._tardy: OrderedDict[Hashable, None] = OrderedDict()

    def open(self, connection: Hashable = None) -> Receipt:
        """Begins a request, which holds nothing yet.

        Args:
            connection: its requests wait behind one another; None for a connection of its own.
        """
        return Receipt(self, connection)

    def beside(self, most: int, what: str) -> ReceivingBudget:
        """Returns a budget of so many bytes that shares nothing with this one but who is told."""
        return ReceivingBudget(most, self.seconds, self._ended, what)

    def has_room_for_late(self, nbytes: int) -> bool:
        """Returns whether a late request may hold so many more."""
        return self.late + nbytes <= self._most * LATE_SHARE

    def prompt_seconds(self, held: int) -> float:
        """Returns the time in which a request that holds so much must arrive, not to be late."""
        waiting = self._waiting or self._behind
        return min(PROMPT_SECONDS, HURRIED_SECONDS) if held and waiting else PROMPT_SECONDS

    def judge(self, connection: Hashable, *, prompt: bool) -> None:
        """Says whether a connection's last request arrived promptly."""
        self._tardy.pop(connection, None)
        if not prompt:
            self._tardy[connection] = None
            if len(self._tardy) > MAX_TARDY:
                self._tardy.popitem(last=False)

    def take_at_once(self, nbytes: int, connection: Hashable) -> bool:
        """Takes room if it need not be waited for; returns whether it did."""
        tardy = connection in self._tardy
        first = not self._waiting and not (tardy and self._behind)
        if not first or self.held + nbytes > self._most:
            return False
        self._hold(nbytes)
        return True

    async def take_in_turn(self, nbytes: int, connection: Hashable) -> None:
        """Waits for room, in turn with other connections, and behind them if tardy.

        Raises:
            QueueFull: there was none within `WAIT_SECONDS`.
        """
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._behind if connection in self._tardy else self._waiting
        queue.setdefault(connection, deque()).append((nbytes, turn))
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # it had its turn in the same moment
                self.give_back(nbytes)
            else:
                turn.cancel()
                self._let_in()
            if isinstance(error, TimeoutError):
                raise self.full() from None
            raise

    def give_back(self, nbytes: int) -> None:
        """Gives room back to whoever waits."""
        self.held -= nbytes
        self._let_in()

    def end(self, nbytes: int) -> None:
        """A request that held so much needs it no longer."""
        self.give_back(nbytes)
        if nbytes >= LARGE_BYTES and self._ended is not None:
            self._ended(nbytes)

    def full(self) -> QueueFull:
        """Returns the refusal of a request that finds no room."""
        return QueueFull(
            f"request: at most {self._most} bytes of {self._what}, others hold {self.held}",
            field="request",
            limit=self._most,
            value=self.held,
            retry_after=RETRY_SECONDS,
        )

    def _hold(self, nbytes: int) -> None:
        self.held += nbytes

    def _let_in(self) -> None:
        while queue := self._waiting or self._behind:
            connection, waiting = next(iter(queue.items()))
            while waiting and waiting[0][1].done():  # it gave up
                waiting.popleft()
            if waiting:
                nbytes, turn = waiting[0]
                if self.held + nbytes > self._most:
                    return
                waiting.popleft()
                self._hold(nbytes)
                turn.set_result(None)
                queue.move_to_end(connection)
            if not waiting:
                del queue[connection]


class Receipt:
    """What one request holds. Its time begins when its bytes are first waited for."""

    def __init__(self, budget: ReceivingBudget, connection: Hashable) -> None:
        self._budget = budget
        self._connection = self if connection is None else connection
        self._known = connection is not None
        self._complete = False
        self._held = 0
        self._late = False
        self._refusal: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._began = 0.0
        self._due = PROMPT_SECONDS
        self._waiting: asyncio.Timeout | None = None

    async def take(self, nbytes: int) -> None:
        """Takes room for bytes that have arrived, or are about to.

        Raises:
            QueueFull: there is none.
            RequestTimeout: it should be complete by now.
        """
        self._check(nbytes)
        if not self._budget.take_at_once(nbytes, self._connection):
            await self._unless_refused(lambda: self._budget.take_in_turn(nbytes, self._connection))
        self._held += nbytes
        if self._late:
            self._budget.late += nbytes
        self._check(0)

    async def wait(self, receive: Callable[[], Awaitable[T]]) -> T:
        """Waits for the client's next bytes.

        Raises:
            QueueFull: it is late, and late requests hold all that they may.
            RequestTimeout: they did not come in time.
        """
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._began = loop.time()
            self._due = self._budget.prompt_seconds(self._held)
            self._timer = loop.call_later(self._due, self._become_late, context=Context())
        self._check(0)
        return await self._unless_refused(receive)

    async def _unless_refused(self, work: Callable[[], Awaitable[T]]) -> T:
        try:
            async with asyncio.timeout(None) as self._waiting:
                return await work()
        except TimeoutError:
            if self._refusal is None:
                raise
            raise self._refusal from None
        finally:
            self._waiting = None

    def give_back(self, nbytes: int) -> None:
        """Gives back what turned out not to be needed."""
        self._held -= nbytes
        if self._late:
            self._budget.late -= nbytes
        self._budget.give_back(nbytes)

    def complete(self) -> None:
        """Everything has arrived; what is held stays held until `close`."""
        if self._timer is not None and not self._complete:
            seconds = asyncio.get_running_loop().time() - self._began
            self._judge(prompt=seconds <= PROMPT_SECONDS)
        self._complete = True
        self._stop_waiting()

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if self._late:
            self._late = False
            self._budget.late -= self._held

    def close(self) -> None:
        """The request is answered, or has ended before it was complete."""
        if self._timer is not None and not self._complete:
            self._judge(prompt=False)
        self._stop_waiting()
        self._refusal = None  # its traceback holds what has arrived
        held, self._held = self._held, 0
        if held:
            self._budget.end(held)

    def _check(self, nbytes: int) -> None:
        if self._refusal is not None:
            raise self._refusal
        if self._late and not self._budget.has_room_for_late(nbytes):
            raise self._budget.full()

    def _judge(self, *, prompt: bool) -> None:
        if self._known:
            self._budget.judge(self._connection, prompt=prompt)

    def _become_late(self) -> None:
        self._judge(prompt=False)
        if not self._budget.has_room_for_late(self._held):
            self.refuse(self._budget.full())
            return
        self._late = True
        self._budget.late += self._held
        left = max(0.0, self._budget.seconds - self._due)
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(left, self._expire, context=Context())

    def _expire(self) -> None:
        seconds = self._budget.seconds
        self.refuse(
            RequestTimeout.at(
                "request", "must arrive within {limit:g} s (body_timeout_seconds)", seconds
            )
        )

    def refuse(self, error: Exception) -> None:
        """Ends the wait for what has not arrived."""
        self._refusal = error
        if self._waiting is not None:
            self._waiting.reschedule(asyncio.get_running_loop().time())
