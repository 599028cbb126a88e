"""What a signal does first, and that a process which hangs while it stops ends all the same."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service import stopping
from service.logs import configure_logging

ROOT = Path(__file__).parents[2]


@pytest.fixture
def _signals() -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("_signals")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_is_passed_on_when_the_callback_says_so(
    number: signal.Signals,
) -> None:
    order: list[str] = []
    signal.signal(number, lambda *_: order.append("earlier"))
    passed: list[Callable[[], None]] = []
    stopping.on_signals(lambda _, pass_on: passed.append(pass_on), give_up_after=3600)
    signal.raise_signal(number)
    signal.raise_signal(number)
    assert order == []
    passed[0]()
    assert order == ["earlier"]


GIVES_UP = """
import os, signal
from service import stopping
stopping.on_signals(lambda *_: None, give_up_after=0.1)
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


@pytest.mark.usefixtures("own_logging")
@pytest.mark.parametrize(("level", "terminal"), [("info", True), ("error", True), ("error", False)])
def test_terminal_is_told_of_the_end_once_whatever_is_logged(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    level: str,
    terminal: bool,
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    configure_logging(level, "json")
    stopping.say_stopped()
    assert capsys.readouterr().err.count('stopped"' if level == "info" else "stopped\n") == terminal
