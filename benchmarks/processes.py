"""Servers and other programs that run beside a benchmark, each in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Program:
    """A running program: its process, and the first line it printed."""

    pid: int
    line: str


@contextmanager
def program(module: str, *arguments: str) -> Iterator[Program]:
    """Runs a module until the end of the block, which begins with the first line it prints."""
    command = [sys.executable, "-m", module, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line:
                raise RuntimeError(f"{module} ended with status {process.wait()}")
            yield Program(process.pid, line.strip())
        finally:
            process.terminate()


@dataclass(frozen=True)
class Server:
    """A running server and its two addresses."""

    pid: int
    grpc: str
    rest: str


@contextmanager
def server(data_dir: Path, cache_dir: Path, *flags: str) -> Iterator[Server]:
    """Runs ``trunkline serve`` on free ports; the block begins when it serves."""
    ports = ("--grpc-port", "0", "--rest-port", "0", "--log-level", "warning")
    folders = ("--data-dir", str(data_dir), "--cache-dir", str(cache_dir))
    with program("trunkline", "serve", *ports, *folders, *flags) as running:
        addresses = json.loads(running.line)
        yield Server(running.pid, addresses["grpc"], addresses["rest"])


def outcome(module: str, *arguments: str) -> dict[str, Any]:
    """Runs a module to its end and reads the JSON document it prints."""
    command = [sys.executable, "-m", module, *arguments]
    output = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    parsed: dict[str, Any] = json.loads(output)
    return parsed
