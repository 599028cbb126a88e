"""Captured inputs that wait for a reviewer: leased few at a time, and judged."""

import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass

from trunkline.cli.labelling.answers import Answer, Answers
from trunkline.cli.labelling.items import Item, Items
from trunkline.cli.labelling.questions import Command, Guess
from trunkline.cli.naming import kept_name, neighbour_words
from trunkline.cli.output import short_digest
from trunkline.clients.client import Client
from trunkline.values.outcomes import RowFailure
from trunkline.values.reviews import Judgement, Review, ReviewOrder

AT_ONCE = 5
"""So few are leased at a time, since a minute is soon over."""

NEIGHBOURS = 3
"""Labelled examples that are shown beside each, as a reason."""

_FRESH_SECONDS = 40.0
"""After which leases are renewed before they end."""

_JUDGEMENTS = {
    Command.SKIP: Judgement.SKIP,
    Command.NONE: Judgement.NONE_OF_THESE,
    Command.JUNK: Judgement.JUNK,
}


@dataclass(frozen=True)
class Wanted:
    """Which captured inputs of a head are wanted: at most `count`, in an order."""

    client: Client
    head: str
    order: ReviewOrder
    count: int
    predicted_label: str | None = None
    sampled_at_random: bool = False


class Queue(Items):
    """Items that are fetched as they are asked for, until there are no more."""

    def __init__(self, wanted: Wanted) -> None:
        super().__init__([])
        self.answers: Answers | None = None
        self.reviews: dict[str, Review] = {}
        self._wanted = wanted
        self._reviewer = secrets.token_hex(8)
        self._leased_at = 0.0
        self._waiting = 0
        self._fetch()

    @property
    def total(self) -> int:
        return min(self._wanted.count, max(self._waiting, len(self.items)))

    def reach(self, row: int) -> bool:
        if row >= len(self.items) and row < self._wanted.count:
            if self.answers:
                self.answers.send()  # what was said is learned before the next ones are answered
            self._fetch()
        return row < len(self.items)

    def hold(self, row: int) -> bool:
        if time.monotonic() - self._leased_at < _FRESH_SECONDS:
            return True
        left = [item.key for item in self.items[row:]]
        held = {review.id for review in self._lease(len(left), left)}
        key = self.items[row].key
        self.items[row + 1 :] = [item for item in self.items[row + 1 :] if item.key in held]
        return key in held

    def store(self, changes: Mapping[str, Answer | None]) -> dict[str, RowFailure]:
        """Stores judgements by the reviews' ids, None to take one back; returns what failed."""
        said = {key: self._judgement(key, answer) for key, answer in changes.items()}
        found = self._wanted.client.review(self._wanted.head, said)
        rows = zip(changes, found, strict=True)
        return {key: row for key, row in rows if isinstance(row, RowFailure)}

    def _judgement(self, key: str, answer: Answer | None) -> Judgement | str:
        if answer is None:
            return Judgement.REOPEN
        if isinstance(answer, Command):
            return _JUDGEMENTS[answer]
        guess = next(iter(self.reviews[key].answer), None)
        return Judgement.CONFIRM if answer == guess else answer

    def _fetch(self) -> None:
        count = min(AT_ONCE, self._wanted.count - len(self.items))
        new = [row for row in self._lease(count) if row.id not in self.reviews]
        for review in new:
            self.reviews[review.id] = review
            self.items.append(_item(review))

    def _lease(self, count: int, ids: list[str] | None = None) -> list[Review]:
        wanted = self._wanted
        found, waiting = wanted.client.lease_reviews(
            wanted.head,
            count,
            wanted.order,
            reviewer=self._reviewer,
            predicted_label=wanted.predicted_label,
            sampled_at_random=wanted.sampled_at_random,
            ids=ids or (),
            neighbours=NEIGHBOURS,
        )
        if ids is None:
            self._waiting = len(self.reviews) + waiting
        self._leased_at = time.monotonic()
        return found


def _item(review: Review) -> Item:
    name = kept_name(review.input, review.external_id)
    shown = name or f"{review.kind} {short_digest(review.digest)}"
    (label, probability), *others = review.answer.items() or [(None, 0.0)]
    guess = Guess(label, probability, {name: share for name, share in others if name})
    like = ", ".join(map(neighbour_words, review.neighbours))
    return Item(review.id, shown, guess, review.input, (f"like {like}",) if like else ())
