"""Servers in processes of their own, as a user starts them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import httpx
import psutil

from tests.second_run import store_of
from trunkline import Client

ROOT = Path(__file__).parent.parent.parent
END_SECONDS = 60  # a process that has not ended by then hangs


class Running:
    """A started process that serves; its log is a file.

    Attributes:
        token: a key that its clients show; empty where none is asked for.
    """

    def __init__(self, process: subprocess.Popen[str], log: Path) -> None:
        self.process = process
        self.log = log
        self.addresses: dict[str, str] = {}
        self.token = ""

    @classmethod
    def start(
        cls,
        command: list[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
    ) -> Self:
        """Starts a process without waiting until it serves."""
        with log.open("a") as stderr:
            process = subprocess.Popen(
                command,
                cwd=cwd,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        return cls(process, log)

    def wait_until_serving(self) -> Self:
        """Reads standard output up to the line that names the addresses."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith('{"'):
                self.addresses = json.loads(line)
                return self
        status = self.process.wait(END_SECONDS)
        raise AssertionError(f"ended with status {status}:\n{self.log.read_text()[-4000:]}")

    @property
    def grpc(self) -> str:
        return self.addresses["grpc"]

    @property
    def rest(self) -> str:
        return self.addresses["rest"]

    @property
    def pid(self) -> int:
        return self.process.pid

    def client(self, timeout: float = 60) -> Client:
        return Client(self.grpc, timeout=timeout, token=self.token or None)

    def http(self) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.token}"} if self.token else {}
        return httpx.Client(base_url=self.rest, timeout=60, headers=headers)

    def events(self) -> list[dict[str, Any]]:
        """The log's JSON lines."""
        return [json.loads(line) for line in self.log.read_text().splitlines() if line[:1] == "{"]

    def terminate(self) -> int:
        """SIGTERM; gives the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def kill(self) -> None:
        """SIGKILL: no handler runs, nothing is flushed."""
        self.process.kill()
        self.wait()

    def wait(self) -> int:
        status = self.process.wait(END_SECONDS)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return status

    def close(self) -> None:
        """Ends the process, if it still runs, and whatever it started."""
        if self.process.poll() is not None:
            assert self.process.stdout is not None
            self.process.stdout.close()
            return
        family = psutil.Process(self.pid).children(recursive=True)
        self.process.kill()
        self.wait()
        for member in family:
            if member.is_running():
                member.kill()
        psutil.wait_procs(family, END_SECONDS)


def free_port() -> str:
    """A port of loopback that nobody has a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return str(listener.getsockname()[1])


def serve_command(data_dir: Path, *options: str) -> list[str]:
    """`trunkline serve` on free ports, with a log that tests can read."""
    ports = [] if "--grpc-port" in options else ["--grpc-port", "0"]
    ports += [] if "--rest-port" in options else ["--rest-port", "0"]
    store = store_of(data_dir)
    return [
        *(sys.executable, "-m", "trunkline", "serve"),
        *("--data-dir", str(data_dir), "--log-format", "json"),
        *(["--store", store, "--store-connections", "4"] if store else []),
        *ports,
        *options,
    ]


def extractor_command(*options: str) -> list[str]:
    """`trunkline extractor` with one small backbone and a free metrics port."""
    return [
        *(sys.executable, "-m", "trunkline", "extractor", "--backbone", "minilm/l6-v2"),
        *("--metrics-port", "0", "--log-format", "json"),
        *options,
    ]


@contextmanager
def serving(
    command: list[str], log: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Running]:
    """A process that serves within the block."""
    running = Running.start(command, log, environment)
    try:
        yield running.wait_until_serving()
    finally:
        running.close()


def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs a command to its end."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )
