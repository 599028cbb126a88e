"""Where REST listens, how many workers there may be, and what a signal does first."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service import supervision
from service.config import ServerSettings, load_settings
from service.errors import InvalidSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        yield opened


@pytest.fixture
def wide_listener() -> Iterator[socket.socket]:
    with socket.socket() as opened:
        opened.bind(("0.0.0.0", 0))
        yield opened


@pytest.fixture
def _signals() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_without_a_supervisor_rest_listens_where_the_settings_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["trunkline", "serve"])
    settings = load_settings(ServerSettings, rest_port=3001)
    assert supervision.rest_address(settings) == ("127.0.0.1", 3001)


def test_under_a_supervisor_rest_listens_on_the_supervisors_socket(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", "--fd", str(listener.fileno())])
    settings = load_settings(ServerSettings, rest_port=3001)
    assert supervision.rest_address(settings) == listener.getsockname()
    assert listener.getsockname()  # it is still open


def test_supervisor_that_listens_for_everybody_is_refused_unless_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, wide_listener: socket.socket
) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", "--fd", str(wide_listener.fileno())])
    with pytest.raises(InvalidSettings, match=r"0\.0\.0\.0 is not loopback") as caught:
        supervision.rest_address(load_settings(ServerSettings))
    assert caught.value.field == "host"
    meant = load_settings(ServerSettings, insecure=True)
    assert supervision.rest_address(meant).host == "0.0.0.0"


def test_second_worker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", "--worker-id", "2"])
    with pytest.raises(InvalidSettings, match="at most 1") as caught:
        supervision.check_workers()
    assert (caught.value.field, caught.value.limit, caught.value.value) == ("workers", 1, 2)


@pytest.mark.parametrize("argv", [["trunkline"], ["worker", "--worker-id", "1"]])
def test_only_worker_is_welcome(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    supervision.check_workers()


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_passed_on_when_the_callback_says_so(
    number: signal.Signals,
) -> None:
    order: list[str] = []
    signal.signal(number, lambda *_: order.append("earlier"))
    passed: list[Callable[[], None]] = []
    supervision.on_signals(lambda _, pass_on: passed.append(pass_on), give_up_after=3600)
    signal.raise_signal(number)
    signal.raise_signal(number)
    assert order == []
    passed[0]()
    assert order == ["earlier"]


GIVES_UP = """
import os, signal
from service import supervision
supervision.on_signals(lambda *_: None, give_up_after=0.1)
os.kill(os.getpid(), signal.SIGTERM)
while True:
    signal.pause()
"""


def test_process_that_hangs_while_it_stops_ends_with_status_0() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", GIVES_UP], cwd=ROOT, timeout=60, capture_output=True, check=False
    )
    assert ended.returncode == 0
    assert b"stopped without waiting" in ended.stdout + ended.stderr


PARENT = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1], "--worker-id", "1"], stdin=sys.stdin, stdout=sys.stdout
)
child.wait()
"""

WORKER = """
import sys, time
from service import supervision
supervision.exit_with_parent()
print("watching", flush=True)
time.sleep(600)
"""


def test_worker_ends_when_its_supervisor_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, WORKER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "watching\n"
        parent.kill()
        # The worker holds the other end of this pipe: it reads to the end when the worker ends.
        assert "the supervisor is gone" in parent.stdout.read()
