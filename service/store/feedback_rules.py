"""Rules that decide what becomes of new feedback; nothing here touches the store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from service.errors import AlreadyExists, InvalidRequest
from service.store.feedback_states import FeedbackState

_MAX_NAMES = 500  # characters of labels in an error


class Said(NamedTuple):
    """What feedback says: the right label of an input."""

    digest: str
    label: str


FORGOTTEN = Said("", "")
"""What feedback says whose input was forgotten: its id stays known, and nobody can tell of what."""


class Pending(NamedTuple):
    """Stored feedback that nothing was decided about for good: it is live or in quarantine."""

    id: int
    label: str
    state: str


@dataclass(frozen=True, slots=True)
class FeedbackDecision:
    """What becomes of feedback.

    Attributes:
        states: of the new feedback, in its order.
        superseded: ids of stored feedback that it replaces.
    """

    states: list[FeedbackState]
    superseded: list[int]


def decide(new: Sequence[Said], pending: Mapping[str, Sequence[Pending]]) -> FeedbackDecision:
    """Decides what is live when feedback comes, oldest first.

    The last label of an input counts. What says the same again as live feedback adds nothing, and
    is superseded at once.

    Args:
        pending: by digest of the input.
    """
    live = {
        digest: item.label
        for digest, items in pending.items()
        for item in items
        if item.state == FeedbackState.LIVE
    }
    states: list[FeedbackState] = []
    taken: dict[str, int] = {}
    for row, (digest, label) in enumerate(new):
        if live.get(digest) == label:
            states.append(FeedbackState.SUPERSEDED)
            continue
        if digest in taken:
            states[taken[digest]] = FeedbackState.SUPERSEDED
        states.append(FeedbackState.LIVE)
        live[digest], taken[digest] = label, row
    superseded = [item.id for digest in taken for item in pending.get(digest, ())]
    return FeedbackDecision(states, superseded)


@dataclass(frozen=True, slots=True)
class AllowedLabels:
    """The labels that feedback of a head may have: those it knows, and how many more.

    `known` is None for a head without an active version, which takes any.
    """

    known: Set[str] | None
    more: int = 0

    def check(self, label: str, new: set[str]) -> None:
        """Accepts a label, and adds it to `new` if it is a new one.

        Raises:
            InvalidRequest: the head does not have it, and takes no more new ones.
        """
        if self.known is None or label in self.known or label in new:
            return
        if len(new) >= self.more:
            names = ", ".join(sorted(self.known))
            why = "takes new labels up to max_classes only" if self.more else "takes no new labels"
            raise InvalidRequest(
                f"label: {label!r} is none of the head's, which {why}; must be one of "
                f"{names[:_MAX_NAMES]}",
                field="label",
                limit=names,
                value=label,
            )
        new.add(label)


def taken(feedback_id: str, before: Said) -> AlreadyExists:
    """Returns the error of an id that comes again with other feedback than it was stored with."""
    return AlreadyExists(
        f"id: {feedback_id} is known already, of the label {before.label!r} for the input "
        f"{before.digest}; other feedback needs an id of its own",
        field="id",
        limit="the same input and label",
        value=feedback_id,
    )
