"""``make bench-access``: what a key and a quota add to a cached prediction, in processor time.

Two servers run side by side: one asks for a key and counts a quota, the other asks for nothing.
They take turns, round by round, so that what else the machine does weighs on both alike. A rate
would not show some per cent on such a machine; the processor time of the server's process does.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import grpc
import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.load import PREDICT, Call
from benchmarks.processes import Server, server
from service.access.operator_key import FILE
from service.config import default_cache_dir
from trunkline import Client, Role
from trunkline.v1 import common_pb2, prediction_pb2

BACKBONE = "minilm/l6-v2"
HEAD = "acme/mood"
EXAMPLES = [(f"{word} number {number}", word) for word in ("good", "bad") for number in range(8)]
IN_FLIGHT = 16
QUOTA = ("--tenant-cost-per-second", "1e12")
"""Far more than is used: what counting costs is measured, not what refusing does."""


@dataclass(frozen=True)
class Contender:
    """A server, what its caller shows, and the head that is asked."""

    running: Server
    token: str
    asked: str = HEAD

    def seconds_per_request(self, seconds: float) -> float:
        """Returns the processor time of the server's process for each cached prediction."""
        return asyncio.run(self._measure(seconds))

    async def _measure(self, seconds: float) -> float:
        process = psutil.Process(self.running.pid)
        text = common_pb2.Input(text=EXAMPLES[0][0])
        request = prediction_pb2.PredictRequest(
            head=f"tenants/{self.asked.replace('/', '/heads/')}", inputs=[text]
        ).SerializeToString()
        metadata = (("authorization", f"Bearer {self.token}"),) if self.token else ()
        count = 0
        async with grpc.aio.insecure_channel(self.running.grpc) as channel:
            predict: Call = channel.unary_unary(PREDICT)
            await predict(request, metadata=metadata)
            before = _busy(process)
            until = time.perf_counter() + seconds

            async def client() -> None:
                nonlocal count
                while time.perf_counter() < until:
                    await predict(request, metadata=metadata)
                    count += 1

            await asyncio.gather(*(client() for _ in range(IN_FLIGHT)))
            return (_busy(process) - before) / count


def measure(rounds: int, seconds: float, console: Console) -> None:
    """Runs all rounds and prints the table."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        plain = _started(stack, Path(folder) / "plain", asked=False)
        asked = _started(stack, Path(folder) / "asked", asked=True)
        pairs = [
            (plain.seconds_per_request(seconds), asked.seconds_per_request(seconds))
            for _ in range(rounds)
        ]
    console.print(_table(pairs, seconds))


def _started(stack: ExitStack, folder: Path, *, asked: bool) -> Contender:
    flags = ("--auth", "required", *QUOTA) if asked else ()
    running = stack.enter_context(
        server(folder, default_cache_dir(), "--backbone", BACKBONE, *flags)
    )
    operator = (folder / FILE).read_text(encoding="ascii").strip() if asked else ""
    with Client(running.grpc, token=operator or None) as client:
        client.create_head(HEAD, BACKBONE)
        client.upload(HEAD, EXAMPLES)
        client.train(HEAD)
        token = client.create_key("acme", [Role.PREDICT]).text if asked else ""
    return Contender(running, token)


def _busy(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def _table(pairs: list[tuple[float, float]], seconds: float) -> Table:
    title = f"{len(pairs)} rounds of {seconds:g} s, {IN_FLIGHT} in flight, {os.cpu_count()} cores"
    table = Table(title=title)
    for column in ("processor time of a cached prediction", "median", "quartiles"):
        table.add_column(column)
    columns = {
        "without key and quota": [plain for plain, _ in pairs],
        "with key and quota": [asked for _, asked in pairs],
        "difference of a round": [asked - plain for plain, asked in pairs],
    }
    for words, values in columns.items():
        low, median, high = (1e6 * value for value in statistics.quantiles(values, n=4))
        table.add_row(words, f"{median:.0f} us", f"{low:.0f} .. {high:.0f} us")
    return table


def main() -> None:
    """Runs the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of one run")
    args = parser.parse_args()
    measure(args.rounds, args.seconds, Console())


if __name__ == "__main__":
    main()
