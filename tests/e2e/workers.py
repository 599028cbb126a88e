"""Servers of several processes: a connection to each of them, and the processes themselves."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from service.cluster.member import VARIABLE
from tests.e2e.metrics import samples
from tests.e2e.processes import Running
from tests.e2e.transports import Grpc
from trunkline.v1 import keys_pb2

WORKERS = ("worker-0", "worker-1")
MOST_CONNECTIONS = 200
"""So many connections reach both of two processes, but once in 10^59."""


@contextmanager
def each_worker(running: Running, token: str = "") -> Iterator[dict[str, Grpc]]:
    """A connection to each process, by its name; it shows this key, or the server's."""
    found: dict[str, Grpc] = {}
    try:
        for _ in range(MOST_CONNECTIONS):
            way, before = Grpc(running.grpc, token or running.token), _asked(running)
            way.call("WhoAmI", keys_pb2.WhoAmIRequest())
            after = _asked(running)
            (name,) = (name for name in WORKERS if after[name] > before[name])
            if name in found:
                way.close()
            found.setdefault(name, way)
            if len(found) == len(WORKERS):
                break
        yield found
    finally:
        for way in found.values():
            way.close()


def _asked(running: Running) -> dict[str, float]:
    with running.http() as http:
        return {
            name: samples(http, "trunkline_requests_total", method="WhoAmI", worker=name)
            for name in WORKERS
        }


def on_new_connections(running: Running, count: int, ask: Callable[[Grpc], None]) -> None:
    """Asks over so many connections, each of its own."""
    for _ in range(count):
        way = Grpc(running.grpc, running.token)
        try:
            ask(way)
        finally:
            way.close()


def processes_of(running: Running) -> dict[str, psutil.Process]:
    """The processes that a supervisor has started, by name."""
    found = {}
    for child in psutil.Process(running.pid).children():
        facts = child.environ().get(VARIABLE)
        name = "extractor" if facts is None else f"worker-{json.loads(facts)['index']}"
        found[name] = child
    return found


def said_by(server: Running, name: str) -> list[dict[str, Any]]:
    """Events of the log that are one process's."""
    return [event for event in server.events() if event.get("process") == name]


def until_back(server: Running, name: str, began: int, seconds: float = 60) -> None:
    """Returns when a process has taken the place of a killed one, and serves.

    Args:
        began: as many events of the log were the killed one's.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if any(event["event"] == "serving" for event in said_by(server, name)[began:]):
            return
        time.sleep(0.1)
    raise AssertionError(f"{name} did not come back")
