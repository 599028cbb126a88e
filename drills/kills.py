"""``kill -9`` at random moments: of the server, and of what fits, tunes and advises beside it."""

from __future__ import annotations

import asyncio
import sys
import time

import psutil

from drills.common.drill import Drill, Outcome
from drills.common.ledger import Key, Value
from drills.common.servers import TEXTS, both_ways, children, serving
from drills.common.writers import (
    CANCELLED,
    DIM,
    TUNED,
    TUNED_TEXTS,
    UNFINISHED,
    WRITTEN,
    Book,
    Clients,
    State,
)
from tests.e2e import processes
from tests.e2e.processes import Running, serve_command
from tests.e2e.samples import vectors
from tests.e2e.transports import Grpc, Refused
from trunkline import Client, Vector
from trunkline.v1 import heads_pb2

PROMISE = (
    "after kill -9 of any process nothing that was acknowledged is lost, nothing is half made, "
    "and every training reaches an end that agrees with what predictions say"
)
SECONDS = 150.0
LONG_SECONDS = 3 * 3600.0

LIVES, LONG_LIVES = 6, 120
MODULES = {
    "fitter": "service.fitting.worker",
    "tuner": "service.tuning.worker",
    "advice": "service.advice.worker",
}
OUTLIVE_SECONDS = 30.0
END_SECONDS = 120.0
"""In which all trainings have ended once nothing is killed any more."""


async def run(drill: Drill) -> Outcome:
    """Kills the server at the end of every life but the last, and its children within them."""
    book = Book(drill.random)
    command = serve_command(
        drill.folder / "data", "--backbone", TEXTS, "--fit-threads", "1", "--tune-threads", "1"
    )
    worst = 0.0
    lives = LONG_LIVES if drill.long else LIVES
    plan = [kind for _ in range(lives // len(MODULES)) for kind in MODULES]
    drill.random.shuffle(plan)
    for life in range(lives + 1):
        begun = time.monotonic()
        async with serving(command, drill.folder / f"log-{life}") as running:
            worst = max(worst, time.monotonic() - begun)
            with running.client() as client:
                if life:
                    await asyncio.to_thread(check, client, book)
                else:
                    await asyncio.to_thread(prepare, client, book)
            await _live(running, book, plan[life : life + 1])
            if life == lives:
                with running.client() as client:
                    await asyncio.to_thread(check, client, book)
                    await asyncio.to_thread(check_ends, client, book)
                if status := await asyncio.to_thread(running.terminate):
                    book.violations.append(f"ended with status {status}")
    checked = await asyncio.to_thread(
        processes.run,
        [sys.executable, "-m", "trunkline", "check", str(drill.folder / "data")],
    )
    if checked.returncode:
        book.violations.append(f"trunkline check: {checked.stdout}{checked.stderr}"[:500])
    kills = ", ".join(f"{count} {kind}" for kind, count in sorted(book.killed.items()))
    answers = ", ".join(f"{count} {kind}" for kind, count in sorted(book.calls.items()))
    ended = f"{len(book.trainings)} trainings, {book.ledger.acknowledged()} values kept"
    return Outcome(
        f"kill -9 ({kills}) amid {answers}; {ended}",
        book.killed.total(),
        worst,
        tuple(book.violations),
    )


def prepare(client: Client, book: Book) -> None:
    """Makes the heads that are written, tuned and cancelled."""
    (backbone,) = client.backbones()
    book.fingerprint = backbone.fingerprint
    client.create_head("kills/written", TEXTS)
    client.create_head("kills/tuned", TEXTS, keep_inputs=True)
    client.create_head("kills/cancelled", TEXTS)
    rows = [(Vector(book.fingerprint, vector), label) for vector, label in vectors(600, DIM, 5)]
    client.add_examples("kills/cancelled", rows)
    client.upload("kills/tuned", list(TUNED_TEXTS.items()))
    examples = vectors(20, DIM, 6)
    client.add_examples("kills/written", [(Vector(book.fingerprint, v), y) for v, y in examples])
    for example in client.list_examples("kills/written"):
        book.ledger.acknowledge(book.ledger.send({("example", example.digest): example.label}))


async def _live(running: Running, book: Book, plan: list[str]) -> None:
    """One life under load: a child is killed as planned, then the server; in the last, all."""
    with both_ways(running) as (rpc, rest):
        clients = Clients(running, book, rpc, rest)
        work = asyncio.create_task(clients.work())
        try:
            for kind in plan or list(MODULES):
                await _kill_child(running, book, kind)
            await asyncio.sleep(book.random.uniform(0.2, 4))
            if plan:
                await asyncio.to_thread(_kill, running, book)
            else:
                clients.stop()
            await work
        finally:
            work.cancel()


def _kill(running: Running, book: Book) -> None:
    """Kills the server; its children end with it."""
    family = psutil.Process(running.pid).children(recursive=True)
    book.killed["server"] += 1
    running.kill()
    _, alive = psutil.wait_procs(family, OUTLIVE_SECONDS)
    book.violations += [f"{child.cmdline()} outlived its server" for child in alive]


async def _kill_child(running: Running, book: Book, kind: str) -> None:
    """Waits for a process of this kind, then kills it at a random moment of its work."""
    async with asyncio.timeout(60):
        while not (found := children(running, MODULES[kind])):
            await asyncio.sleep(0.02)
    await asyncio.sleep(book.random.uniform(0, 1.5))
    book.killed[kind] += 1  # before its end can be told
    for child in found:
        try:
            child.kill()
        except psutil.NoSuchProcess:
            book.killed[kind] -= 1  # it had ended


def check(client: Client, book: Book) -> None:
    """Compares what is stored with what was acknowledged."""
    book.violations += book.ledger.check(_found(client))
    for head in (WRITTEN, TUNED, CANCELLED):
        versions = {version.version: version for version in client.versions(head)}
        if set(versions) != set(range(1, len(versions) + 1)):
            book.violations.append(f"{head}: has versions {sorted(versions)}")
        for number, version in versions.items():
            exported = client.export_head(head, number)
            if not exported.safetensors or exported.version.labels != version.labels:
                book.violations.append(f"{head}: version {number} is not whole")
        if book.versions.get(head, 0) > len(versions):
            book.violations.append(f"{head}: version {book.versions[head]} is gone")
    way = Grpc(client.address)
    for name in list(book.trainings):
        try:
            request = heads_pb2.GetTrainingRequest(name=name)
            book.see(way.call("GetTraining", request).training)
        except Refused as error:
            book.violations.append(f"{name}: {error}")
    way.close()


def _found(client: Client) -> dict[Key, Value]:
    found: dict[Key, Value] = {
        ("example", example.digest): example.label
        for example in client.list_examples("kills/written")
    }
    found |= {("feedback", item.id): item.label for item in client.list_feedback("kills/written")}
    for head in client.list_heads("kills"):
        if "/made-" in head.name:
            found["head", head.name.rpartition("/")[2]] = client.get_head(head.name).labels[0]
    return found


def check_ends(client: Client, book: Book) -> None:
    """Sees every training end, and predictions by the version that it made."""
    until = time.monotonic() + END_SECONDS
    for name, training in book.trainings.items():
        state = training.state
        while state in UNFINISHED and time.monotonic() < until:
            time.sleep(0.1)
            state = State.Value(f"TRAINING_STATE_{client.get_training(name).state.name}")
        if state in UNFINISHED:
            book.violations.append(f"{name}: is unfinished {END_SECONDS:g} s after the last kill")
    for head in (WRITTEN, TUNED):
        shown = client.get_head(head)
        if shown.training is not None:
            book.violations.append(f"{head}: names the training {shown.training} after all ended")
        if not shown.active_version:
            book.violations.append(f"{head}: no training has succeeded")
