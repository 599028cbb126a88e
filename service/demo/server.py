"""A Trunkline server in a process of its own, for as long as a block lasts."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from service.demo.errors import DemoError

ROOT = Path(__file__).parents[2]
START_SECONDS = 150.0
STOP_SECONDS = 30.0
LOG_TAIL = 30


@dataclass(frozen=True)
class Server:
    """Where a running server listens."""

    grpc: str
    rest: str


@contextmanager
def running_server(data_dir: Path, log: Path) -> Iterator[Server]:
    """Starts a server on free loopback ports, and stops it when the block ends, however it does.

    Raises:
        DemoError: it does not start.
    """
    command = [sys.executable, "-m", "trunkline", "serve", "--host", "127.0.0.1"]
    command += ["--grpc-port", "0", "--rest-port", "0", "--data-dir", str(data_dir)]
    command += ["--auth", "required"]
    with (
        log.open("wb") as stderr,
        subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=stderr,
            start_new_session=True,  # Ctrl-C is for the demo, which then stops the server in order
        ) as process,
    ):
        try:
            yield _wait_until_serving(process)
        finally:
            process.terminate()
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()


def log_tail(log: Path) -> str:
    """Returns the last lines of a server's log."""
    if not log.exists():
        return ""
    with log.open(encoding="utf-8", errors="replace") as lines:
        return "".join(deque(lines, maxlen=LOG_TAIL))


def _environment() -> dict[str, str]:
    """Returns the environment without settings meant for other servers; they share the cache."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("TRUNKLINE_") or name == "TRUNKLINE_CACHE_DIR"
    }
    return kept | {"BENTOML_DO_NOT_TRACK": "True"}


def _wait_until_serving(process: subprocess.Popen[bytes]) -> Server:
    """Reads the one line that the server prints when it is ready; its output ends if it dies."""
    assert process.stdout is not None
    kill_timer = threading.Timer(START_SECONDS, process.kill)
    kill_timer.start()
    try:
        line = process.stdout.readline()
    finally:
        kill_timer.cancel()
    if not line:
        status = process.wait()
        raise DemoError(f"the server ended with status {status} before it served")
    addresses = json.loads(line)
    return Server(addresses["grpc"], addresses["rest"])
