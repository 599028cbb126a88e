"""A hundred thousand heads in one store: start-up, cold predictions and memory."""

from __future__ import annotations

import asyncio
import json
import os
import random
import secrets
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
from sqlalchemy import Connection, insert

import adapters
from adapters.diagnostics import diagnose
from benchmarks.learning.runs import Run
from benchmarks.learning.tables import Table, yes_or_no
from benchmarks.processes import Server, server
from service.config import MIB
from service.store import open_database, schema
from service.store.version_members import pack
from trunkline import Backbone, Client, Prediction, Vector

HEADS, CHUNK, STARTS = 100_000, 1000, 3
DIM, CLASSES, EXAMPLES = 384, 5, 100
BACKBONE = "minilm/l6-v2"
CACHE_MIB = 64
COLD, FILLING, MORE = 1000, 5000, 10_000
"""Heads that answer for the first time: timed, until the cache is full, and after that."""

BYTES_PER_HEAD = 60_000
"""On the disk, at most; to see beforehand that there is room."""

MOST_START, MOST_COLD_MS = 5.0, 20.0
SPARE_MIB = 64
"""That memory may grow by, besides the configured cache: buffers, fragmentation."""


@dataclass(frozen=True)
class _Figures:
    """What was measured. Seconds, milliseconds and MiB."""

    heads: int
    stored: float
    empty_start: float
    start: float
    cold_ms: tuple[float, ...]
    before: float
    full: float
    after: float


def measure(run: Run) -> list[Table]:
    """Fill a store, start a server on it and ask heads that nobody has asked before."""
    heads = run.size(HEADS, 1500)
    with tempfile.TemporaryDirectory(prefix="trunkline-heads-") as name:
        folder = Path(name)
        _check_space(folder, heads)
        data_dir = folder / "data"
        backbone = _backbone(data_dir, run.cache)
        empty_start = _start(run, data_dir)
        with run.steps("heads", heads) as done:
            asyncio.run(_fill(data_dir, backbone, heads, done))
        stored = sum(path.stat().st_size for path in data_dir.rglob("*") if path.is_file())
        start = _start(run, data_dir)
        _drop_from_memory(data_dir)
        with _server(data_dir, run.cache) as running:
            cold, before, full, after = _predict(run, running, backbone, heads)
    figures = _Figures(heads, stored / MIB, empty_start, start, cold, before, full, after)
    return [_table(figures)]


def _server(data_dir: Path, cache: Path) -> Any:
    flags = ("--backbone", BACKBONE, "--head-cache-bytes", str(CACHE_MIB * MIB))
    return server(data_dir, cache, *flags)


def _check_space(folder: Path, heads: int) -> None:
    free, needed = shutil.disk_usage(folder).free, heads * BYTES_PER_HEAD
    if free < needed:
        raise SystemExit(
            f"{folder}: {heads:,} heads take up to {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB "
            "are free; name a folder with more room in TMPDIR"
        )


def _backbone(data_dir: Path, cache: Path) -> Backbone:
    """Make the store, and the engine's files where they have not been exported."""
    with _server(data_dir, cache) as running, Client(running.grpc) as client:
        (backbone,) = client.backbones()
    return backbone


def _start(run: Run, data_dir: Path) -> float:
    """Return the seconds from the command to readiness, the median of some starts."""
    seconds = []
    with run.steps("start-up", run.size(STARTS, 1)) as done:
        for _ in range(run.size(STARTS, 1)):
            _drop_from_memory(data_dir)
            started = time.perf_counter()
            with _server(data_dir, run.cache):
                seconds.append(time.perf_counter() - started)
            done()
    return median(seconds)


async def _fill(data_dir: Path, backbone: Backbone, heads: int, done: Callable[[], None]) -> None:
    """Store heads with a trained version each, a tenant each."""
    fitted = _fitted(backbone.fingerprint)
    database = open_database(data_dir)
    try:
        for first in range(0, heads, CHUNK):
            numbers = range(first, min(first + CHUNK, heads))
            await database.write(_insert, numbers, fitted)
            for _ in numbers:
                done()
    finally:
        database.close()


def _fitted(fingerprint: str) -> adapters.Fitted:
    """Train a head as tenants do, on examples of classes that overlap."""
    rng = np.random.default_rng(0)
    targets = np.arange(EXAMPLES) % CLASSES
    embeddings = rng.normal(size=(CLASSES, DIM))[targets] + 3 * rng.normal(size=(EXAMPLES, DIM))
    labels = [f"class {target}" for target in targets]
    fitted = adapters.fit(embeddings.astype(np.float32), labels, fingerprint=fingerprint)
    return diagnose(fitted, embeddings.astype(np.float32), labels)


def _insert(connection: Connection, numbers: range, fitted: adapters.Fitted) -> None:
    head, report = fitted.head, json.dumps(fitted.report.to_json())
    weights, labels = head.to_safetensors(), json.dumps(head.labels)
    spec = json.dumps(adapters.HeadSpec().to_json())
    now = time.time()
    uids = {number: uuid.uuid4().hex for number in numbers}
    # Ids are the database's to give; these are the first rows of an empty table.
    tenants = [{"id": number + 1, "name": f"t{number}", "created_at": now} for number in numbers]
    heads = [
        {
            "uid": uid,
            "tenant_id": number + 1,
            "name": "h",
            "backbone": BACKBONE,
            "fingerprint": head.fingerprint,
            "spec": spec,
            "keep_inputs": False,
            "active_version": 1,
            "last_version": 1,
            "created_at": now,
        }
        for number, uid in uids.items()
    ]
    versions = [
        {
            "head_uid": uid,
            "version": 1,
            "source": "training",
            "labels": labels,
            "report": report,
            "example_count": EXAMPLES,
            "safetensors": weights,
            "created_at": now,
            "backbone": BACKBONE,
            "base_fingerprint": head.fingerprint,
        }
        for uid in uids.values()
    ]
    members = [{"head_uid": uid, "version": 1, **_members(head.labels)} for uid in uids.values()]
    connection.execute(insert(schema.tenants), tenants)
    connection.execute(insert(schema.heads), heads)
    connection.execute(insert(schema.versions), versions)
    connection.execute(insert(schema.members), members)


def _members(labels: tuple[str, ...]) -> dict[str, bytes]:
    members = {secrets.token_hex(32): labels[i % len(labels)] for i in range(EXAMPLES)}
    digests, packed = pack(members)
    return {"digests": digests, "labels": packed}


def _drop_from_memory(data_dir: Path) -> None:
    """Ask the system to forget the files, so that cold heads come from the disk."""
    for path in data_dir.glob("trunkline.db*"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def _predict(
    run: Run, running: Server, backbone: Backbone, heads: int
) -> tuple[tuple[float, ...], float, float, float]:
    """Return milliseconds of cold heads; memory before, with a full cache, and at the end."""
    cold, filling, more = (run.size(*sizes) for sizes in ((COLD, 50), (FILLING, 50), (MORE, 50)))
    order = random.Random(0).sample(range(heads), 1 + cold + filling + more)
    vector = Vector(backbone.fingerprint, np.ones(backbone.dim, dtype=np.float32))
    with Client(running.grpc) as client, run.steps("predictions", len(order)) as done:

        def ask(number: int) -> float:
            started = time.perf_counter()
            (answer,) = client.predict(f"t{number}/h", [vector])
            elapsed = 1000 * (time.perf_counter() - started)
            assert isinstance(answer, Prediction), answer
            done()
            return elapsed

        ask(order[0])  # connects, and loads what every prediction needs
        before = _resident(running.pid)
        times = tuple(ask(number) for number in order[1 : 1 + cold])
        for number in order[1 + cold : 1 + cold + filling]:
            ask(number)
        full = _resident(running.pid)
        for number in order[1 + cold + filling :]:
            ask(number)
        return times, before, full, _resident(running.pid)


def _resident(pid: int) -> float:
    """Return the MiB of memory that the server and its helpers hold."""
    server = psutil.Process(pid)
    processes = [server, *server.children(recursive=True)]
    return sum(process.memory_info().rss for process in processes) / MIB


def _table(seen: _Figures) -> Table:
    cold = median(seen.cold_ms)
    p99 = sorted(seen.cold_ms)[int(0.99 * len(seen.cold_ms))]
    growth = seen.after - seen.before
    rows = [
        ("start-up, empty store", f"{seen.empty_start:.1f} s", "", ""),
        (
            "start-up",
            f"{seen.start:.1f} s",
            f"< {MOST_START:g} s",
            yes_or_no(seen.start < MOST_START),
        ),
        (
            "first prediction of a cold head, median",
            f"{cold:.1f} ms",
            f"< {MOST_COLD_MS:g} ms",
            yes_or_no(cold < MOST_COLD_MS),
        ),
        ("first prediction of a cold head, p99", f"{p99:.1f} ms", "", ""),
        ("resident memory before", f"{seen.before:.0f} MiB", "", ""),
        (f"growth with the cache of {CACHE_MIB} MiB full", f"{seen.full - seen.before:.0f} MiB"),
        (
            "growth after as many heads again, and more",
            f"{growth:.0f} MiB",
            f"≤ {CACHE_MIB} + {SPARE_MIB} MiB",
            yes_or_no(growth <= CACHE_MIB + SPARE_MIB),
        ),
    ]
    note = (
        f"A tenant each, d={DIM}, {CLASSES} classes, one version with its report; "
        f"{seen.stored:,.0f} MiB on the disk. Start-up is from the command to readiness, loading "
        "one backbone included, the median of some. The system was told to drop the store's files "
        "from its memory beforehand."
    )
    padded = [(*row, *[""] * (4 - len(row))) for row in rows]
    return Table(
        f"{seen.heads:,} heads in one store", ("", "figure", "wanted", "met"), padded, note
    )
