"""Clients that come back with what was refused, for as long as they are told that they may."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar

import httpx

from drills.common.servers import Away, ask
from tests.e2e.transports import Grpc, Refused, Rest

P = ParamSpec("P")
T = TypeVar("T")

STREAM = "TrainHead"
CUT, CUT_STREAM = ("CANCELLED",), ("CANCELLED", "UNKNOWN", "INTERNAL")
OF_A_PROXY = (502, 503, 504)
PAUSE_SECONDS = 0.3


class Insisting:
    """Sends calls over both transports, and judges how they are refused.

    Args:
        seconds: after which a call that is refused again and again is a violation.

    Attributes:
        refused: how often calls were refused in a way that says to come again, by how.
        slowest: seconds from a call's first try to its answer, at most.
    """

    def __init__(self, rpc: Grpc, rest: Rest, chance: random.Random, seconds: float = 60.0) -> None:
        rest.http.event_hooks["response"] = [_of_a_proxy]
        self.ways: Sequence[Grpc | Rest] = (rpc, rest)
        self.random = chance
        self._seconds = seconds
        self.refused: Counter[str] = Counter()
        self.violations: list[str] = []
        self.slowest = 0.0

    @property
    def way(self) -> Grpc | Rest:
        """One of the two, by chance."""
        return self.random.choice(self.ways)

    async def once(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Makes a call; one that a proxy cuts off ends with no code of ours.

        Raises:
            Away: it was refused, and may be sent again.
            Refused: for another reason.
        """
        try:
            return await ask(call, *args, **kwargs)
        except Away as error:
            self._judge(error)
            raise
        except Refused as error:
            codes = CUT_STREAM if STREAM in args else CUT
            if error.request_id or error.code not in codes:
                raise
            self.refused[f"{error.code} of a cut"] += 1
            raise Away(str(error)) from error

    async def insist(
        self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[T, int]:
        """Makes a call until it is answered; returns how often it was refused before, too.

        Raises:
            Refused: not because somebody was away.
        """
        begun, tries = time.monotonic(), 0
        while True:
            try:
                reply = await self.once(call, *args, **kwargs)
            except Away as error:
                tries += 1
                if time.monotonic() - begun > self._seconds:
                    raise TimeoutError(f"refused {tries} times, at last: {error}") from error
                await asyncio.sleep(self.random.uniform(0, PAUSE_SECONDS))
            else:
                self.slowest = max(self.slowest, time.monotonic() - begun)
                return reply, tries

    def _judge(self, error: Away) -> None:
        cause = error.__cause__
        if not isinstance(cause, Refused):
            self.refused["REST cut off"] += 1
        elif not cause.request_id:
            self.refused["gRPC cut off"] += 1
        else:
            self.refused[f"{cause.code} of a server"] += 1
            if cause.retry_after is None:
                self.violations.append(f"refused without a hint: {error}")


def _of_a_proxy(response: httpx.Response) -> None:
    """Takes what a proxy says of servers that it does not reach for a connection that was cut."""
    problem = response.headers.get("content-type", "").startswith("application/problem+json")
    if response.status_code in OF_A_PROXY and not problem:
        raise httpx.RemoteProtocolError(f"the proxy says {response.status_code}")
