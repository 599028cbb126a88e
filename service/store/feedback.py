"""The feedback log. Its labels become those of the examples in the same transaction."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, delete, insert, select

from service.errors import InvalidRequest, NotFound, PreconditionFailed, ServiceError
from service.store import schema
from service.store.changes import changed_in
from service.store.examples import NewExample, find_examples, store_examples
from service.store.feedback_rules import FORGOTTEN, AllowedLabels, Pending, Said, decide, taken
from service.store.feedback_states import FeedbackState, release, set_values
from service.store.head_records import HeadRecord
from service.store.heads import require_head
from service.store.label_forms import read_json
from service.store.live_set import live_labels
from service.store.sql import select_among

KEPT_SUPERSEDED = 10_000
"""Feedback of a head that a later label has replaced, newest first; what is older is deleted."""


@dataclass(frozen=True, slots=True)
class NewFeedback:
    """One feedback with what its example needs."""

    feedback_id: str
    example: NewExample
    label: str


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of new feedback.

    Attributes:
        duplicates: per row, whether it was known before, with its id.
        errors: why rows were refused.
        replaced: labels by row that inputs had before, where feedback gave them another.
    """

    duplicates: list[bool]
    errors: dict[int, ServiceError]
    replaced: dict[int, str]

    @property
    def added(self) -> int:
        """How many rows are in the log now that were not before."""
        return self.duplicates.count(False) - len(self.errors)


@dataclass(frozen=True, slots=True)
class FeedbackRecord:
    """Feedback as stored; `id` orders it by age."""

    id: int
    feedback_id: str
    digest: str
    label: str
    state: FeedbackState
    active_version: int
    active_right: bool | None
    live_right: bool | None
    created_at: float


def store_feedback(
    connection: Connection,
    uid: str,
    new: Sequence[NewFeedback],
    *,
    max_examples: int,
    max_classes: int | None = None,
    fingerprint: str | None = None,
) -> Stored:
    """Appends feedback and makes its label the example's; a row that is refused costs itself alone.

    A known id changes nothing. It is refused with another input or label than it was stored with.

    Args:
        max_classes: bounds new labels, which are refused at all where the head takes none. None
            leaves labels unchecked.
        fingerprint: of the backbone that made the embeddings; None for the head's own.

    Raises:
        NotFound: the head was deleted meanwhile.
        Aborted: it has moved to another backbone meanwhile.
        LimitExceeded: the head would have more than `max_examples`; nothing is stored.
    """
    head = require_head(connection, uid)
    seen = seen_feedback(connection, uid, [item.feedback_id for item in new])
    refusals = _Refusals(connection, head, new, max_classes)
    examples = find_examples(connection, uid, [item.example.digest for item in new])
    labels = {digest: example.label for digest, example in examples.items()}
    fresh: dict[str, NewFeedback] = {}
    duplicates: list[bool] = []
    errors: dict[int, ServiceError] = {}
    replaced: dict[int, str] = {}
    for row, item in enumerate(new):
        said = Said(item.example.digest, item.label)
        before = seen.get(item.feedback_id)
        duplicates.append(before in (said, FORGOTTEN))
        if duplicates[-1]:
            continue
        error = refusals.of(item) if before is None else taken(item.feedback_id, before)
        if error is not None:
            errors[row] = error
        else:
            fresh[item.feedback_id], seen[item.feedback_id] = item, said
            if (label := labels.get(said.digest)) not in (None, said.label):
                replaced[row] = label
            labels[said.digest] = said.label
    _append(connection, head, list(fresh.values()), max_examples, fingerprint)
    return Stored(duplicates, errors, replaced)


def allowed_labels(connection: Connection, head: HeadRecord, max_classes: int) -> AllowedLabels:
    """Returns the labels that feedback of the head may have."""
    if not head.active_version:
        return AllowedLabels(None)
    labels = select(schema.versions.c.labels).filter_by(
        head_uid=head.uid, version=head.active_version
    )
    known = set(read_json(connection.execute(labels).scalar_one()))
    if not head.allow_new_labels:
        return AllowedLabels(known)
    known |= live_labels(connection, head.uid)
    return AllowedLabels(known, max(0, max_classes - len(known)))


def list_feedback(
    connection: Connection, uid: str, *, after: int, limit: int, state: FeedbackState | None
) -> list[FeedbackRecord]:
    """Returns feedback with an id above `after`, oldest first."""
    table = schema.feedback.c
    query = (
        select(*(table[name] for name in FeedbackRecord.__dataclass_fields__))
        .where(table.head_uid == uid, table.id > after)
        .order_by(table.id)
        .limit(limit)
    )
    if state is not None:
        query = query.where(table.state == state)
    return [
        FeedbackRecord(**{**row._mapping, "state": FeedbackState(row.state)})
        for row in connection.execute(query)
    ]


def release_feedback(
    connection: Connection, uid: str, feedback_ids: Sequence[str] | None
) -> tuple[int, dict[int, NotFound]]:
    """Lets quarantined feedback count again; None means all of it.

    Returns:
        How much was released, and an error for each row whose id is of none in quarantine.
    """
    table = schema.feedback.c
    rows = connection.execute(
        select(table.id, table.feedback_id).where(
            table.head_uid == uid, table.state == FeedbackState.QUARANTINED
        )
    )
    quarantined = {row.feedback_id: row.id for row in rows}
    wanted = list(quarantined) if feedback_ids is None else list(feedback_ids)
    errors = {
        row: NotFound(f"id: no feedback {item} is in quarantine", field="ids", value=item)
        for row, item in enumerate(wanted)
        if item not in quarantined
    }
    ids = list(dict.fromkeys(quarantined[item] for item in wanted if item in quarantined))
    release(connection, uid, sorted(ids))
    changed_in(connection).live.add(uid)
    return len(ids), errors


class _Refusals:
    """Decides what feedback the head refuses; new labels count towards the limit once accepted."""

    def __init__(
        self,
        connection: Connection,
        head: HeadRecord,
        new: Sequence[NewFeedback],
        max_classes: int | None,
    ) -> None:
        self._held_out = _held_out(connection, head.uid, [item.example.digest for item in new])
        self._labels = (
            AllowedLabels(None)
            if max_classes is None
            else allowed_labels(connection, head, max_classes)
        )
        self._new_labels: set[str] = set()

    def of(self, item: NewFeedback) -> ServiceError | None:
        digest = item.example.digest
        if digest in self._held_out:
            return PreconditionFailed(
                f"input: {digest} is a held-out example, which feedback leaves alone",
                field="input",
                limit="not held out",
                value=digest,
            )
        try:
            self._labels.check(item.label, self._new_labels)
        except InvalidRequest as error:
            return error
        return None


def _append(
    connection: Connection,
    head: HeadRecord,
    new: Sequence[NewFeedback],
    max_examples: int,
    fingerprint: str | None,
) -> None:
    """Appends feedback; a live copy learns it, unless that has learned what is not so any more."""
    if not new:
        return
    said = [Said(item.example.digest, item.label) for item in new]
    decision = decide(said, _pending(connection, head.uid, [digest for digest, _ in said]))
    set_values(connection, decision.superseded, state=FeedbackState.SUPERSEDED)
    now = time.time()
    rows: list[dict[str, Any]] = [
        {
            "head_uid": head.uid,
            "feedback_id": item.feedback_id,
            "digest": item.example.digest,
            "label": item.label,
            "active_version": head.active_version,
            "created_at": now,
            "state": state,
        }
        for item, state in zip(new, decision.states, strict=True)
    ]
    number_in_order(connection, head.uid)
    connection.execute(insert(schema.feedback), rows)
    store_examples(
        connection,
        head.uid,
        [item.example for item in new],
        max_examples=max_examples,
        fingerprint=fingerprint,
    )
    _delete_old_superseded(connection, head.uid)
    changed = changed_in(connection)
    changed.feedback[head.uid] = head.tenant
    by_tail = {item.example.tail[0] if item.example.tail else None for item in new}
    if decision.superseded or by_tail != {head.tail}:  # that was made of another version's tail
        changed.live.add(head.uid)


def number_in_order(connection: Connection, uid: str) -> None:
    """Has feedback of a head that is stored from now on come after all that is committed by then.

    PostgreSQL takes numbers out of order: who commits last may have the lower one, which a live
    copy that has learned the higher one would never see. So who stores feedback of a head waits for
    whoever does already. On SQLite there is one writer, and nothing to wait for.
    """
    lock = select(schema.heads.c.uid).where(schema.heads.c.uid == uid)
    connection.execute(lock.with_for_update(key_share=True))


def _delete_old_superseded(connection: Connection, uid: str) -> None:
    table = schema.feedback.c
    superseded = and_(table.head_uid == uid, table.state == FeedbackState.SUPERSEDED)
    newest_to_go = (
        select(table.id)
        .where(superseded)
        .order_by(table.id.desc())
        .limit(1)
        .offset(KEPT_SUPERSEDED)
        .scalar_subquery()
    )
    connection.execute(delete(schema.feedback).where(superseded, table.id <= newest_to_go))


def _held_out(connection: Connection, uid: str, digests: Sequence[str]) -> set[str]:
    table = schema.examples.c
    query = select(table.digest).where(table.head_uid == uid, table.held_out)
    return {row.digest for row in select_among(connection, query, table.digest, digests)}


def _pending(connection: Connection, uid: str, digests: Sequence[str]) -> dict[str, list[Pending]]:
    table = schema.feedback.c
    found: dict[str, list[Pending]] = {}
    query = select(table.digest, table.id, table.label, table.state).where(
        table.head_uid == uid,
        table.state.in_((FeedbackState.LIVE, FeedbackState.QUARANTINED)),
    )
    for digest, *values in select_among(connection, query, table.digest, digests):
        found.setdefault(digest, []).append(Pending(*values))
    return found


def seen_feedback(connection: Connection, uid: str, ids: Sequence[str]) -> dict[str, Said]:
    """Returns what stored feedback says, by its id."""
    table = schema.feedback.c
    query = select(table.feedback_id, table.digest, table.label).where(table.head_uid == uid)
    rows = select_among(connection, query, table.feedback_id, ids)
    return {name: Said(digest, label) for name, digest, label in rows}
