"""The serving figures: all candidates in one run, in turn, medians over the rounds.

(a) a plain loop of decoding and ONNX Runtime at its best batch size and threads
(b) ``Predict`` with distinct JPEG images, 16 in flight, one row a request, one tenant
(c) the same for 100 and 1,000 tenants with a head each
(d) ``Predict`` with cached inputs, beside a bare grpc.aio echo of the same sizes
(e) cached REST beside cached gRPC
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import grpc
import numpy as np
import safetensors.numpy
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from benchmarks.load import PREDICT, Plan
from benchmarks.processes import outcome, program, server
from trunkline import Client
from trunkline.v1 import common_pb2, prediction_pb2, prediction_pb2_grpc

IN_FLIGHT = 16
TENANTS = 1000
CLASSES = 3
PHOTOS = 500


class Bench:
    """A running server with a head for each of the tenants, and the photos to send."""

    def __init__(self, stack: ExitStack, folder: Path, cache_dir: Path, seconds: float) -> None:
        self._seconds = seconds
        self.images = folder / "images"
        self.cache_dir = cache_dir
        write_photos(self.images)
        running = stack.enter_context(server(folder / "data", cache_dir))
        self.grpc, self.rest = running.grpc, running.rest
        self.echo = ""
        self._salt = 0
        self._import_heads()
        reply = self.reply_bytes()
        echo = stack.enter_context(program("benchmarks.echo", str(reply)))
        self.echo = f"127.0.0.1:{echo.line}"
        self._loop = outcome("benchmarks.plain_loop", *self._loop_arguments())

    def plain_loop(self) -> float:
        """Photos per second of the plain loop, at what its trial found best."""
        arguments = ["--threads", str(self._loop["threads"]), "--batch", str(self._loop["batch"])]
        rate: float = outcome("benchmarks.plain_loop", *self._loop_arguments(), *arguments)["rate"]
        return rate

    def load(
        self, address: str, *, method: str = PREDICT, distinct: bool = False, tenants: int = 1
    ) -> float:
        """Requests per second of one run of the load generator."""
        self._salt += 1
        plan = Plan(
            address=address,
            method=method,
            images=self.images,
            distinct=distinct,
            salt=str(self._salt),
            tenants=tenants,
            in_flight=IN_FLIGHT,
            seconds=self._seconds,
        )
        seen = outcome("benchmarks.load", json.dumps(asdict(plan), default=str))
        if seen["errors"]:
            raise RuntimeError(f"{seen['errors']} of {seen['requests']} requests failed")
        rate: float = seen["rate"]
        return rate

    def reply_bytes(self) -> int:
        """The size of a reply, for the echo."""
        photo = next(iter(sorted(self.images.glob("*.jpg")))).read_bytes()
        request = prediction_pb2.PredictRequest(
            head="tenants/t0/heads/h", inputs=[common_pb2.Input(image=photo)]
        )
        with grpc.insecure_channel(self.grpc) as channel:
            reply = prediction_pb2_grpc.PredictionServiceStub(channel).Predict(request)
        return reply.ByteSize()

    def loop_settings(self) -> str:
        """What the plain loop's trial found best."""
        return f"{self._loop['threads'] or 'default'} threads, batch {self._loop['batch']}"

    def _loop_arguments(self) -> list[str]:
        return [
            *("--images", str(self.images)),
            *("--cache-dir", str(self.cache_dir)),
            *("--seconds", str(self._seconds)),
        ]

    def _import_heads(self) -> None:
        rng = np.random.default_rng(0)
        labels = [f"class {i}" for i in range(CLASSES)]
        with Client(self.grpc) as client:
            (backbone,) = (b for b in client.backbones() if b.name == "efficientnet/lite0")
            for tenant in range(TENANTS):
                tensors = {
                    "weight": rng.normal(size=(CLASSES, backbone.dim)).astype(np.float32),
                    "bias": np.zeros(CLASSES, dtype=np.float32),
                }
                client.import_head(
                    f"t{tenant}/h",
                    safetensors.numpy.save(tensors),
                    backbone=backbone.name,
                    fingerprint=backbone.fingerprint,
                    labels=labels,
                )


def measure(cache_dir: Path, console: Console, rounds: int, seconds: float) -> None:
    """Runs everything and prints the table."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        console.print("starting the server, importing heads, trying the plain loop …")
        bench = Bench(stack, Path(folder), cache_dir, seconds)
        candidates: dict[str, Callable[[], float]] = {
            "a": bench.plain_loop,
            "b": lambda: bench.load(bench.grpc, distinct=True),
            "c100": lambda: bench.load(bench.grpc, distinct=True, tenants=100),
            "c1000": lambda: bench.load(bench.grpc, distinct=True, tenants=TENANTS),
            "d": lambda: bench.load(bench.grpc),
            "echo": lambda: bench.load(bench.echo),
            "e": lambda: bench.load(bench.rest, method="rest"),
        }
        rates: dict[str, list[float]] = {name: [] for name in candidates}
        with Progress(console=console) as progress:
            task = progress.add_task("measuring", total=rounds * len(candidates))
            for _ in range(rounds):
                for name, candidate in candidates.items():
                    rates[name].append(candidate())
                    progress.advance(task)
        console.print(_table(rates, bench.loop_settings(), seconds))


def _table(rates: dict[str, list[float]], loop: str, seconds: float) -> Table:
    rows = (
        ("a", f"plain loop: decode + ONNX Runtime ({loop})", "", ""),
        ("b", "Predict, distinct JPEGs, 1 tenant", "a", "0.85"),
        ("c100", "Predict, distinct JPEGs, 100 tenants", "b", ""),
        ("c1000", "Predict, distinct JPEGs, 1,000 tenants", "b", "0.95"),
        ("d", "Predict, cached inputs", "echo", "0.50"),
        ("echo", "bare grpc.aio echo of the same sizes", "", ""),
        ("e", "REST :predict, cached inputs", "d", ""),
    )
    rounds = len(rates["a"])
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    load = f"{rounds} rounds of {seconds:g} s, {IN_FLIGHT} in flight, one row a request"
    table = Table(title=f"{load}; {machine}")
    for column in ("", "contender", "median /s", "of", "median ratio", "target"):
        table.add_column(column, justify="right" if column in ("median /s",) else "left")
    for name, words, base, target in rows:
        ratio = ""
        if base:
            pairs = zip(rates[name], rates[base], strict=True)
            ratio = f"{statistics.median(mine / other for mine, other in pairs):.2f}"
        table.add_row(name, words, f"{statistics.median(rates[name]):.0f}", base, ratio, target)
    return table


def write_photos(folder: Path) -> None:
    """Copies an even choice of the textile photos."""
    import conformal_clip_data

    folder.mkdir(parents=True)
    source = Path(conformal_clip_data.__file__).parent / "data/textile_images/simulated"
    photos = sorted(source.glob("*/*.jpg"))
    for number, path in enumerate(photos[:: max(1, len(photos) // PHOTOS)]):
        (folder / f"{number:04d}.jpg").write_bytes(path.read_bytes())
