"""The right head under churn: 64 tenants, small caches, heads that change while all predict."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Mapping, Sequence

from drills.common.answers import Answer, Probes, State, distance, fits
from drills.common.churn import Churn
from drills.common.drill import Drill, Outcome
from drills.common.servers import TEXTS, ask, both_ways, server
from drills.common.stored_tails import store_tails
from drills.common.timeline import Timeline
from service.config import default_cache_dir
from tests.e2e.metrics import samples
from tests.e2e.processes import Running
from tests.e2e.samples import short_texts
from tests.e2e.transports import Grpc, Refused, Rest, Row, text
from tests.service.tunings import WHO_BITES

PROMISE = "every answer is that of the head, version, tail and live copy that it names at that time"
SECONDS = 90.0
LONG_SECONDS = 2 * 3600.0

CHURN_SECONDS, LONG_CHURN_SECONDS = 45.0, 3600.0
TENANTS, TAUGHT = 64, 8
TAILED = [f"tenants/t{8 + i}/heads/tailed" for i in range(6)]
ASKERS = 10
SENTENCES = 60
SMALL_CACHES = (
    *("--head-cache-bytes", "1048576"),  # some 20 of 80 heads
    *("--embedding-cache-bytes", "100000"),  # some 40 of 130 texts
    *("--tail-cache-bytes", "30000000"),  # some 3 of 13 tails
    *("--live-cache-bytes", "8000000"),  # some 2 of 8 copies
)
EXPLAINED = 10
"""Wrong answers that are compared with all states there were."""
GIVES_NO_ANSWER = ("NOT_FOUND", "FAILED_PRECONDITION")


async def run(drill: Drill) -> Outcome:
    """Predicts and changes heads at once, then recomputes every answer."""
    sentences = [words for words, _ in short_texts(SENTENCES)]
    texts = [*list(WHO_BITES)[:12], *sentences]
    probes = await asyncio.to_thread(Probes, TEXTS, default_cache_dir(), texts)
    tails = await store_tails(drill.folder / "data", probes, TAILED)
    seconds = LONG_CHURN_SECONDS if drill.long else CHURN_SECONDS
    options = ("--backbone", TEXTS, "--drift-delta", "1e-9", *SMALL_CACHES)
    async with server(drill.folder, *options) as running:
        with both_ways(running) as (rpc, rest), running.client() as client:
            churn = Churn(rpc, client, probes, drill.random)
            churn.timelines |= {head: Timeline(states[-1]) for head, states in tails.items()}
            asker = Asker(rpc, rest, probes, drill.random)
            await _attack(churn, asker, tails, seconds)
            await churn.export_last()
        loads = await asyncio.to_thread(_loads, running)
    wrong = await asyncio.to_thread(check, asker.answers, churn.timelines, probes)
    changes = ", ".join(f"{count} {kind}" for kind, count in sorted(churn.changes.items()))
    done = f"{len(asker.answers)} answers recomputed amid {changes}; {loads}"
    violations = (*asker.violations, *churn.violations, *wrong)
    return Outcome(done, len(asker.answers), asker.slowest, violations)


async def _attack(
    churn: Churn, asker: Asker, tails: dict[str, list[State]], seconds: float
) -> None:
    """Runs all clients until the time is up, or one of them fails."""
    plain = [f"tenants/t{i}/heads/plain" for i in range(TENANTS)]
    taught = [f"tenants/t{i}/heads/taught" for i in range(TAUGHT)]
    tuned = f"tenants/t{TENANTS - 1}/heads/tuned"
    asker.heads = [*plain, *2 * [*taught, *tails], *4 * [tuned]]
    until = time.monotonic() + 2 / 3 * seconds
    async with asyncio.TaskGroup() as group:
        work = [group.create_task(churn.change_plain(plain[i::4])) for i in range(4)]
        work += [group.create_task(churn.teach(head)) for head in taught]
        work.append(group.create_task(churn.change_tails(tails, until)))
        work.append(group.create_task(churn.tune(tuned)))
        work += [group.create_task(asker.ask_for_ever()) for _ in range(ASKERS)]
        await asyncio.sleep(seconds)
        for task in work:
            task.cancel()


class Asker:
    """Clients that predict without a pause, and keep all answers.

    Attributes:
        heads: that are asked; who stands in it more often is asked more often.
        slowest: seconds that an answer took at most.
    """

    def __init__(self, rpc: Grpc, rest: Rest, probes: Probes, random: random.Random) -> None:
        self._ways: Sequence[Grpc | Rest] = (rpc, rpc, rpc, rest)
        self._probes = probes
        self._random = random
        self.heads: list[str] = []
        self.answers: list[Answer] = []
        self.violations: list[str] = []
        self.slowest = 0.0

    async def ask_for_ever(self) -> None:
        """Asks one head after the other; at times two of a tenant in one request."""
        while True:
            head = self._random.choice(self.heads)
            tenant = head.partition("/heads/")[0]
            siblings = [other for other in set(self.heads) if other.startswith(f"{tenant}/")]
            rows = self._random.sample(range(len(self._probes.texts)), 4)
            if self._random.random() < 0.2:
                await self._ask(head, rows, [self._random.choice(siblings) for _ in rows])
            else:
                await self._ask(head, rows, [])

    async def _ask(self, head: str, rows: list[int], heads: list[str]) -> None:
        way = self._random.choice(self._ways)
        inputs = [text(self._probes.texts[row]) for row in rows]
        asked = time.monotonic()
        try:
            found = (await ask(way.predict, head, inputs, heads=heads)).rows
        except Refused as error:
            if error.code not in GIVES_NO_ANSWER:
                self.violations.append(f"{head}: {error}")
            found = [Row("") for _ in rows] if error.code in GIVES_NO_ANSWER else []
        answered = time.monotonic()
        self.slowest = max(self.slowest, answered - asked)
        named = heads or [head] * len(rows)
        for row, wanted, one in zip(rows, named, found, strict=bool(found)):
            if one.error is not None and one.error.code not in GIVES_NO_ANSWER:
                self.violations.append(f"{wanted}: {one.error}")
                continue
            if one.version and one.head != wanted:
                self.violations.append(f"asked {wanted}, answered {one.head}")
            self.answers.append(Answer(wanted, asked, answered, row, one.version, one.scores))


def check(
    answers: Sequence[Answer], timelines: Mapping[str, Timeline[State]], probes: Probes
) -> list[str]:
    """Recomputes every answer from the states that could give it; says which fit none."""
    wrong: list[str] = []
    for answer in answers:
        states = timelines[answer.head].possible(answer.asked, answer.answered)
        if not any(fits(answer, state, probes) for state in states):
            far = [f"{state} by {distance(answer, state, probes):.4f}" for state in states]
            like = _like(answer, timelines, probes) if len(wrong) < EXPLAINED else "(not looked)"
            wrong.append(
                f"{answer.head} answered as version {answer.version} at {answer.answered:.3f}: "
                f"far from {far}, but like {like}"
            )
    return wrong


def _like(answer: Answer, timelines: Mapping[str, Timeline[State]], probes: Probes) -> list[str]:
    """Of which states, of any time and head, a wrong answer might be."""
    return [
        f"{head} {state}"
        for head, timeline in timelines.items()
        for state in timeline.states()
        if answer.version and fits(answer, state, probes)
    ]


def _loads(running: Running) -> str:
    """What the small caches had to do."""
    with running.http() as http:
        names = {
            "evictions of tails": "trunkline_tail_evictions_total",
            "texts in the cache": "trunkline_embedding_cache_hits_total",
            "texts not in it": "trunkline_embedding_cache_misses_total",
            "feedback learned": "trunkline_feedback_learned_total",
        }
        return ", ".join(f"{samples(http, name):.0f} {words}" for words, name in names.items())
