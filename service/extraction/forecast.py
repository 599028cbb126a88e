"""When a request would be done: what cannot be done in its time is refused before any work.

The law is in docs/architecture.md, under "What can still be done in time".
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.concurrency.demand import Demand
from service.concurrency.fair_queue import Rank
from service.concurrency.promises import Promises
from service.errors import QueueFull, TooLate
from service.extraction.pace import Pace

BOOKED = 0.5
"""Share of the pace that is promised away."""
PAD = 0.5
"""Share of a batch's time that a newcomer must have beyond what it is expected to take."""
TRIAL_SECONDS = 0.5
"""Without a full batch, after which a request that nothing is ahead of is run as a trial."""
LEAST_WAIT = 0.01


@dataclass(eq=False, slots=True)
class _Work:
    rows: int = 0
    cost: int = 0


class Stage:
    """What lies before one batcher, by tenant, and how fast it goes.

    Args:
        pace: pace of its batches, from one to the next.
        concurrency: batches at once.
        max_rows: rows of a batch at most.
        turn_rows: rows of one request that leave before it is another tenant's turn.
        apart: what waits here has no place in the stages after it until it has passed this one.
    """

    def __init__(
        self,
        pace: Pace,
        concurrency: int,
        max_rows: int,
        turn_rows: int = 1,
        *,
        apart: bool = False,
    ) -> None:
        self.max_rows = max_rows
        self._turn_rows = turn_rows
        self.apart = apart
        self._pace = pace
        self._concurrency = concurrency
        self._work: dict[str, _Work] = {}

    @property
    def idle(self) -> bool:
        """Whether no row has it before it."""
        return not self._work

    def add(self, tenant: str, rows: int, cost: int) -> None:
        """Counts rows that have it before them; negative numbers for rows that have passed it."""
        work = self._work.setdefault(tenant, _Work())
        work.rows += rows
        work.cost += cost
        if not work.rows:
            del self._work[tenant]

    def rows(self, tenant: str) -> int:
        """Returns how many rows of a tenant have it before them."""
        return self._work[tenant].rows if tenant in self._work else 0

    def ahead(self, tenant: str, rows: int, cost: int, *, newcomer: bool) -> tuple[float, float]:
        """Returns rows and cost that leave no later than the last of these rows.

        Those are the tenant's own, of each other tenant as much as of this one, for so the fair
        queues share, and half a turn: that is what is left of the one under way, on average.

        Args:
            newcomer: was promised nothing. Then each other tenant is to have one more request like
                this one, and turns are ended before it is the turn of this tenant.
        """
        more_rows, more_cost = (rows, cost) if newcomer else (0, 0)
        mine = self._work.get(tenant, _Work())
        all_rows, all_cost = mine.rows + rows, mine.cost + cost
        others = [work for name, work in self._work.items() if name != tenant]
        shared_rows = sum(min(work.rows + more_rows, all_rows) for work in others)
        shared_cost = sum(min(work.cost + more_cost, all_cost) for work in others)
        behind = sum(work.rows for work in others) - shared_rows
        turn = turn_cost = 0.0
        if newcomer and behind > 0:
            turn = min(self._turn_rows / 2, behind)
            turn_cost = max(sum(work.cost for work in others) - shared_cost, 0) * turn / behind
        return all_rows + shared_rows + turn, all_cost + shared_cost + turn_cost

    def seconds(self, rows: float, cost: float, now: float) -> float:
        """Returns how long so much takes; 0 while the pace is unknown."""
        return (self._pace.seconds(rows, cost, now) or 0.0) / self._concurrency


@dataclass(frozen=True, slots=True)
class RowWork:
    """What one row has before it.

    Attributes:
        decoding: the stage that decodes it, at such cost.
        passing_cost: what it counts for before its pass.
    """

    decoding: Stage
    decoding_cost: int
    passing_cost: int


@dataclass(eq=False, slots=True)
class Place:
    """What an admitted request has before it still.

    Attributes:
        work: the work of all of its rows, by stage.
        left: the part of that which is in the stage now.
        promised: whether it comes at the time that it was promised.
        rank: the rank of its rows in the queues.
        begun: whether a row of it has entered a pass.
        expected: seconds from its arrival until it is done, as told at a queue last.
        trial: it is run whatever is expected of it, so that it is seen how long it takes.
    """

    tenant: str
    key: str
    arrived: float
    available: float
    demands: Sequence[Demand]
    work: dict[Stage, _Work]
    left: dict[Stage, _Work] = field(default_factory=dict)
    promised: bool = False
    rank: Rank = Rank.IN_TURN
    begun: bool = False
    expected: float = 0.0
    trial: bool = False

    @property
    def may_give_way(self) -> bool:
        """Whether nothing is lost with it, for nobody but one request."""
        return not self.begun and all(len(demand.waiters) <= 1 for demand in self.demands)

    def give_way(self, error: Exception) -> None:
        """Drops all of its rows."""
        self.end()
        for demand in self.demands:
            demand.drop(error)

    def expect(self, seconds: float, now: float) -> float:
        """Takes in that it is done so many seconds from now, and returns them."""
        self.expected = now - self.arrived + seconds
        return seconds

    def enter(self, stage: Stage, cost: int) -> None:
        """Notes that one more row, of such cost, has a stage before it."""
        left = self.left.setdefault(stage, _Work())
        left.rows += 1
        left.cost += cost
        stage.add(self.tenant, 1, cost)

    def passed(self, stage: Stage, cost: int) -> None:
        """Notes that one row, of such cost, has passed a stage."""
        left = self.left.get(stage)
        if left is not None and left.rows:
            left.rows -= 1
            left.cost -= cost
            stage.add(self.tenant, -1, -cost)

    def end(self) -> None:
        """Notes that the request has ended: nothing is before it."""
        for stage, left in self.left.items():
            if left.rows:
                stage.add(self.tenant, -left.rows, -left.cost)
        self.left.clear()


class Forecast:
    """Tells when a request of one backbone would be done.

    Requests with a row that is decoded apart have a forecast of their own, and so promises of their
    own: others do not wait for what they wait for.

    Args:
        decoding, passing: the two stages that decide.
        passes: pace of single forward passes.
    """

    def __init__(self, decoding: Stage, passing: Stage, passes: Pace) -> None:
        self.decoding = decoding
        self.passing = passing
        self._passes = passes
        self._promises = Promises()
        self._newcomers: dict[Place, None] = {}

    @contextmanager
    def admit(
        self, tenant: str, key: str, rows: Sequence[RowWork], demands: Sequence[Demand], now: float
    ) -> Iterator[Place]:
        """Takes a request in for the length of the block.

        Args:
            key: identifies the request when it comes back.
            rows, demands: one per row.

        Raises:
            QueueFull: it would be late; with the time after which it is taken.
        """
        available = min((demand.deadline for demand in demands), default=math.inf) - now
        place = Place(tenant, key, now, available, demands, self._work(rows))
        if place.work and available < math.inf:
            self._admit(place, now)
            if not place.promised:
                self._newcomers[place] = None
        for row in rows:
            self.enter(place, row)
        try:
            yield place
        finally:
            self._newcomers.pop(place, None)
            place.end()

    def enter(self, place: Place, row: RowWork) -> None:
        """Notes that one more row has the stages before it."""
        place.enter(row.decoding, row.decoding_cost)
        if not row.decoding.apart:
            place.enter(self.passing, row.passing_cost)

    def leave(self, place: Place, row: RowWork) -> None:
        """Notes that a row, not decoded yet, waits for something else: nobody waits behind it."""
        place.passed(row.decoding, row.decoding_cost)
        if not row.decoding.apart:
            place.passed(self.passing, row.passing_cost)

    def seconds_after_decoding(self, place: Place, rows: int, cost: int, now: float) -> float:
        """Returns when all of a request is embedded whose next row is decoded now.

        Args:
            rows, cost: what waits for the backbone and goes before that row.
        """
        last = self._last_pass(place, now)
        of_all = place.work[self.passing]
        undecoded = {stage: left for stage, left in place.left.items() if stage != self.passing}
        own = sum(left.rows for left in undecoded.values())
        own_cost = own * of_all.cost / of_all.rows
        return max(
            self.passing.seconds(rows + own, cost + own_cost, now),
            self.passing.seconds(rows, cost, now) + last,
            *(
                stage.seconds(max(left.rows - stage.max_rows, 0), left.cost, now) + last
                for stage, left in undecoded.items()
            ),
        )

    def refusal(self, place: Place, now: float) -> QueueFull:
        """Returns the error of a request that would be late; it is promised a time."""
        seconds, for_row = self._seconds(place, now, newcomer=True)
        seconds = max(seconds, place.expected)
        due = self._promises.find(place.tenant, place.key, now)
        if due is None:
            due = now + max(seconds - place.available, LEAST_WAIT)
            due += for_row * self._promised(place) / BOOKED
            self._promises.make(place.tenant, place.key, self._rows(place), now, due)
        rows = place.work[self.passing].rows
        return QueueFull(
            f"deadline: the request has {place.available:.3g} s, and {rows} rows behind "
            f"those that wait take {seconds:.3g} s; try again later",
            field="deadline",
            limit=f"at least {seconds:.3g} s",
            value=f"{place.available:.3g} s",
            retry_after=due - now,
        )

    def _admit(self, place: Place, now: float) -> None:
        """Takes a request in; if it was promised this time, those who were not give way to it.

        Raises:
            QueueFull: it would be late.
        """
        self._promises.pass_time(now)
        place.promised = self._promises.claim(place.tenant, place.key, now)
        if place.promised:
            # More than a batch, and the requests whose turn it is would come too late, half done.
            small = place.work[self.passing].rows <= self.passing.max_rows
            place.rank = Rank.AT_ONCE if small else Rank.FIRST
        if self.passing.idle and self.decoding.idle:
            # What is known may be from slower times, and nothing better would be learned if all
            # that comes were refused or dropped for it.
            place.trial = self._passes.age(now) > TRIAL_SECONDS
            return
        seconds, for_row = self._seconds(place, now, newcomer=not place.promised)
        over = seconds - place.available
        pad = PAD * self._last_pass(place, now)
        # Without a pace, what is too late for its pass alone is found so at the queue.
        if over + pad <= 0 or not for_row:
            return
        made_way = place.promised and self._make_way(place, (over + pad) / for_row)
        if not made_way and (over > 0 or not place.promised):
            raise self.refusal(place, now)

    def _make_way(self, place: Place, rows: float) -> bool:
        """Drops the newest requests that have not begun, of so many rows, if there are so many.

        Those of tenants that have less before them than this one has stay.
        """
        least = self._ahead(place.tenant) + self._rows(place)
        leaving: list[Place] = []
        for newcomer in reversed(self._newcomers):
            own = newcomer.tenant == place.tenant
            if newcomer.may_give_way and (own or self._ahead(newcomer.tenant) >= least):
                leaving.append(newcomer)
                rows -= self._rows(newcomer)
                if rows <= 0:
                    break
        if rows > 0:
            return False
        for newcomer in leaving:
            del self._newcomers[newcomer]
            newcomer.give_way(TooLate("another request was promised this time"))
        return True

    def _seconds(self, place: Place, now: float, *, newcomer: bool) -> tuple[float, float]:
        """Returns when a request would be done, and how long each row ahead of it takes."""
        last = self._last_pass(place, now)
        seconds = for_row = 0.0
        for stage, work in place.work.items():
            rows, cost = stage.ahead(place.tenant, work.rows, work.cost, newcomer=newcomer)
            passed = stage.seconds(rows, cost, now)
            for_row = max(for_row, passed / rows)
            if stage is self.passing:
                before = stage.seconds(rows - work.rows, cost - work.cost, now)
                seconds = max(seconds, passed, before + last)
            else:
                seconds = max(seconds, passed + last)
        return seconds, for_row

    def _last_pass(self, place: Place, now: float) -> float:
        """Returns what a pass takes that ends a request; 0 while nothing is known.

        It is full of rows such as the request's, if those are smaller than those seen.
        """
        work, rows = place.work[self.passing], self.passing.max_rows
        alike = self._passes.seconds(rows, rows * work.cost / work.rows, now)
        return min(self._passes.batch_seconds(now), alike or 0.0)

    def _work(self, rows: Sequence[RowWork]) -> dict[Stage, _Work]:
        work: dict[Stage, _Work] = {}
        for row in rows:
            for stage, cost in (
                (row.decoding, row.decoding_cost),
                (self.passing, row.passing_cost),
            ):
                of_stage = work.setdefault(stage, _Work())
                of_stage.rows += 1
                of_stage.cost += cost
        return work

    def _rows(self, place: Place) -> int:
        """Returns the rows for which a request has this forecast: all, or those apart."""
        return place.work[self.decoding].rows

    def _ahead(self, tenant: str) -> int:
        """Returns the rows of a tenant that are on their way."""
        return max(self.decoding.rows(tenant), self.passing.rows(tenant))

    def _promised(self, place: Place) -> float:
        """Returns the rows, promised a time to come, that are expected no later than these."""
        kept, promised = self._promises.kept, self._promises.rows
        mine = kept * (promised.get(place.tenant, 0) + self._rows(place))
        others = [rows for name, rows in promised.items() if name != place.tenant]
        return mine + sum(min(kept * rows, mine) for rows in others)
