"""Traffic of many tenants, some of them with tails, beside the same traffic without any."""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from pathlib import Path
from statistics import median

from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, yes_or_no
from benchmarks.load import PREDICT, Plan
from benchmarks.processes import Server, outcome, program, server
from benchmarks.serving import write_photos
from benchmarks.tails.changed import BACKBONE, write_models
from benchmarks.tails.memory import Memory, memory
from benchmarks.tails.store import fill
from models.graph_paths import graph_path
from trunkline import Backbone, Client

TENANTS, TAILS = 100, 20
IN_FLIGHT, ROUNDS, SECONDS = 16, 7, 8
LEAST = 0.7

Rates = dict[int, list[float]]
"""Requests per second of the rounds, by how many of the tenants have a tail."""


def measure(run: Run) -> list[Table]:
    """Send the same traffic to a server without tails and one with, then measure their memory."""
    tenants, tails = run.size(TENANTS, 10), run.size(TAILS, 2)
    with tempfile.TemporaryDirectory(prefix="trunkline-tails-") as name, ExitStack() as stack:
        folder = Path(name)
        write_photos(folder / "images")
        backbone = _backbone(folder / "empty", run.cache)
        servers = {}
        for count in (0, tails):
            data_dir = folder / f"{count}-tails"
            with run.steps(f"{tenants} heads, {count} with a tail", tenants) as done:
                asyncio.run(fill(data_dir, backbone, tenants, count, done))
            servers[count] = stack.enter_context(_server(data_dir, run.cache))
        plan = Plan(
            address="",
            method=PREDICT,
            images=folder / "images",
            distinct=True,
            salt="",
            tenants=tenants,
            in_flight=IN_FLIGHT,
            seconds=float(run.size(SECONDS, 2)),
        )
        rates = _rounds(run, servers, plan)
        held = {count: memory(running.pid) for count, running in servers.items()}
        graph = graph_path(run.cache / backbone.fingerprint)
        whole = {
            count: _whole_models(graph, folder / f"{count}-models", count) for count in (0, tails)
        }
    return [_throughput(rates, plan, tails), _memory(held, whole, tenants, tails)]


def _server(data_dir: Path, cache: Path) -> AbstractContextManager[Server]:
    return server(data_dir, cache, "--backbone", BACKBONE)


def _backbone(data_dir: Path, cache: Path) -> Backbone:
    with _server(data_dir, cache) as running, Client(running.grpc) as client:
        (backbone,) = client.backbones()
    return backbone


def _rounds(run: Run, servers: dict[int, Server], plan: Plan) -> Rates:
    """Load the servers in turn; the first round, in which tails are loaded, does not count."""
    rates: Rates = {count: [] for count in servers}
    rounds = run.size(ROUNDS, 1)
    with run.steps("mixed traffic", len(servers) * (1 + rounds)) as done:
        for number in range(1 + rounds):
            for count, running in servers.items():
                rate = _rate({**asdict(plan), "address": running.grpc, "salt": str(number)})
                if number:
                    rates[count].append(rate)
                done()
    return rates


def _rate(plan: dict[str, object]) -> float:
    seen = outcome("benchmarks.load", json.dumps(plan, default=str))
    if seen["errors"]:
        raise RuntimeError(f"{seen['errors']} of {seen['requests']} requests failed")
    rate: float = seen["rate"]
    return rate


def _whole_models(graph: Path, folder: Path, count: int) -> Memory:
    write_models(graph, folder, count)
    with program("benchmarks.tails.whole_models", str(folder)) as running:
        return memory(running.pid)


def _throughput(rates: Rates, plan: Plan, tails: int) -> Table:
    ratio = median(mixed / plain for mixed, plain in zip(rates[tails], rates[0], strict=True))
    row = (
        f"{median(rates[0]):.0f}",
        f"{median(rates[tails]):.0f}",
        f"{ratio:.2f}",
        f"≥ {LEAST:g}",
        yes_or_no(ratio >= LEAST),
    )
    columns = ("requests/s without tails", "requests/s with", "ratio", "wanted", "met")
    note = (
        f"`Predict` of images never sent before, one row a request, {plan.in_flight} in flight, "
        f"{plan.tenants} tenants with a head each taking turns; with: {tails} of them have a tail "
        "of their own, all blocks after the cut. Two servers, "
        f"{len(rates[0])} alternated rounds of {plan.seconds:g} s; medians, ratio of the same "
        "round."
    )
    return Table(f"{plan.tenants} tenants, {tails} of them with tails", columns, [row], note)


def _memory(held: dict[int, Memory], whole: dict[int, Memory], tenants: int, tails: int) -> Table:
    rows = [
        ("server without tails", *_mib(held[0]), ""),
        (f"server with {tails} tails", *_mib(held[tails]), _more(held[tails], held[0])),
        ("a process without whole models", *_mib(whole[0]), ""),
        (
            f"a process with {tails} whole models",
            *_mib(whole[tails]),
            _more(whole[tails], whole[0]),
        ),
    ]
    columns = ("", "resident (RSS)", "proportional (PSS)", "more than without")
    note = (
        f"After the traffic of {tenants} tenants; each server with all its processes. Whole "
        "models: ONNX Runtime sessions of the whole backbone, each with weights of its own, after "
        "one picture each; there is no server around them."
    )
    return Table("Memory of tails and of whole models", columns, rows, note)


def _mib(seen: Memory) -> tuple[str, str]:
    return f"{seen.resident:,.0f} MiB", f"{seen.proportional:,.0f} MiB"


def _more(seen: Memory, than: Memory) -> str:
    return f"{seen.proportional - than.proportional:+,.0f} MiB"
