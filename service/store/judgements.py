"""What reviewers say of captured inputs: kept with the captures, and learned as feedback."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, case, func, select, update

from service.errors import NotFound, ServiceError
from service.store import schema
from service.store.captures import CaptureRecord, CaptureState
from service.store.changes import changed_in
from service.store.examples import NewExample, delete_example, supersede_feedback
from service.store.feedback import NewFeedback, store_feedback
from service.store.heads import require_head
from service.store.metadata import find_metadata
from service.store.reviews import find_captures

LABELLED = (CaptureState.CONFIRMED, CaptureState.CORRECTED)
"""States of what somebody gave a label."""

_TABLE = schema.captures


@dataclass(frozen=True, slots=True)
class NewJudgement:
    """What somebody says of a captured input.

    Attributes:
        id: of the capture.
        state: what it becomes; of `LABELLED` either one will do for a label.
        example: what the label makes of the input; None without one.
    """

    id: str
    state: CaptureState
    example: NewExample | None = None

    @property
    def label(self) -> str | None:
        """The label that it gives."""
        return None if self.example is None else self.example.label


@dataclass(frozen=True, slots=True)
class Judged:
    """What a judgement came to.

    Attributes:
        feedback_id: "" where it became none.
        duplicate: whether the same had been said before.
        previous_label: that the input had until then; None where it has the same now.
        held_out: whether the input is a held-out example, which keeps its label.
        deleted: digest of the example that is gone with the judgement before; "" for none.
    """

    state: CaptureState
    feedback_id: str = ""
    duplicate: bool = False
    previous_label: str | None = None
    held_out: bool = False
    deleted: str = ""


@dataclass(frozen=True, slots=True)
class _Before:
    """The example of a captured input as it was before anybody judged that."""

    existed: bool
    label: str | None = None
    own_label: str | None = None
    source: str = ""


def judge(
    connection: Connection,
    uid: str,
    new: Sequence[NewJudgement],
    *,
    key: str,
    now: float,
    max_examples: int,
    max_classes: int,
    fingerprint: str,
) -> tuple[list[Judged | ServiceError], int]:
    """Takes judgements, each for all captures of its input; one that is refused costs itself alone.

    A label is feedback under the capture's id, and somebody vouches for it as for an upload. What
    takes the place of an earlier label is feedback under the id and a number. Where it is no label,
    the example is what it was before, unless others have said something else of it since.

    Args:
        key: id of the reviewer's; "" for none.
        now: in seconds since 1970.
        max_examples, max_classes, fingerprint: as in `store_feedback`.

    Returns:
        What became of each, and how much feedback was added.

    Raises:
        NotFound: the head was deleted meanwhile.
        Aborted: it has moved to another backbone meanwhile.
        LimitExceeded: as in `store_feedback`; nothing is stored.
    """
    outcomes: list[Judged | ServiceError] = []
    added = 0
    for item in new:
        capture = find_captures(connection, uid, [item.id]).get(item.id)
        if capture is None or capture.expires_at is None:
            outcomes.append(_no_review(item.id))
            continue
        if _says_the_same(capture, item):
            outcomes.append(Judged(capture.state, duplicate=True))
            continue
        before = _before(connection, uid, capture)
        outcome: Judged | ServiceError
        if item.example is None:
            outcome = _withdraw(connection, uid, capture, item.state, before)
        elif _is_held_out(connection, uid, capture.digest):
            outcome = Judged(_state(capture, item.example.label), held_out=True)
        else:
            outcome = _learn(
                connection, uid, capture, item.example, key, max_examples, max_classes, fingerprint
            )
        outcomes.append(outcome)
        if isinstance(outcome, Judged):
            added += bool(outcome.feedback_id)
            _write(connection, uid, capture, item, key, now, before)
    return outcomes, added


def _no_review(name: str) -> NotFound:
    return NotFound(f"id: the head has no review {name}, or it has expired", field="id", value=name)


def _says_the_same(capture: CaptureRecord, item: NewJudgement) -> bool:
    if item.example is not None:
        return capture.state in LABELLED and capture.judged_label == item.label
    return capture.state is item.state


def _before(connection: Connection, uid: str, capture: CaptureRecord) -> _Before:
    """Returns what the example was before anybody gave the capture a label."""
    if capture.state in LABELLED:
        query = select(_TABLE.c.before).where(_TABLE.c.number == capture.number)
        return _Before(**json.loads(connection.execute(query).scalar_one()))
    row = _example(connection, uid, capture.digest)
    return _Before(False) if row is None else _Before(True, row.label, row.own_label, row.source)


def _example(connection: Connection, uid: str, digest: str) -> Any:
    table = schema.examples.c
    query = select(
        table.label, table.own_label, table.source, table.held_out, table.external_id
    ).where(table.head_uid == uid, table.digest == digest)
    return connection.execute(query).one_or_none()


def _is_held_out(connection: Connection, uid: str, digest: str) -> bool:
    row = _example(connection, uid, digest)
    return row is not None and bool(row.held_out)


def _learn(
    connection: Connection,
    uid: str,
    capture: CaptureRecord,
    example: NewExample,
    key: str,
    max_examples: int,
    max_classes: int,
    fingerprint: str,
) -> Judged | ServiceError:
    """Stores a label as feedback, and vouches for it."""
    label = example.label
    assert label is not None
    known = _example(connection, uid, capture.digest)
    if known is None or known.external_id is None:
        example = replace(example, external_id=capture.external_id)
    if capture.metadata and not find_metadata(connection, uid, [capture.digest]):
        example = replace(example, metadata=capture.metadata)
    feedback = NewFeedback(_feedback_id(connection, uid, capture.id), example, label)
    stored = store_feedback(
        connection,
        uid,
        [feedback],
        max_examples=max_examples,
        max_classes=max_classes,
        fingerprint=fingerprint,
    )
    if stored.errors:
        return stored.errors[0]
    values: dict[str, Any] = {"own_label": label, "reviewer": key or None}
    if require_head(connection, uid).keep_inputs:
        kept = select(_TABLE.c.input).where(_TABLE.c.number == capture.number).scalar_subquery()
        values["input"] = func.coalesce(schema.examples.c.input, kept)
    connection.execute(
        update(schema.examples).filter_by(head_uid=uid, digest=capture.digest).values(**values)
    )
    if known is not None and known.own_label != label:
        # A live copy may stand on it as a member of its version, with the label of before.
        changed_in(connection).live.add(uid)
    state = _state(capture, label)
    return Judged(state, feedback.feedback_id, previous_label=stored.replaced.get(0))


def _state(capture: CaptureRecord, label: str | None) -> CaptureState:
    right = capture.predicted == label
    return CaptureState.CONFIRMED if right else CaptureState.CORRECTED


def _feedback_id(connection: Connection, uid: str, name: str) -> str:
    """Returns the id that the next feedback of a capture has: its own, or with the next number."""
    table = schema.feedback.c
    used = connection.scalars(
        select(table.feedback_id).where(
            table.head_uid == uid,
            table.feedback_id >= name,
            table.feedback_id < name + "/",  # which comes after the full stop
        )
    )
    numbers = [int(text.removeprefix(name).removeprefix(".") or 1) for text in used]
    return f"{name}.{max(numbers) + 1}" if numbers else name


def _withdraw(
    connection: Connection,
    uid: str,
    capture: CaptureRecord,
    state: CaptureState,
    before: _Before,
) -> Judged:
    """Takes back what a label has made of the example, unless others have changed that since."""
    known = _example(connection, uid, capture.digest)
    label = capture.judged_label
    if label is None or known is None or known.held_out or known.own_label != label:
        return Judged(state)
    if not before.existed:
        delete_example(connection, uid, capture.digest)
        return Judged(state, previous_label=label, deleted=capture.digest)
    connection.execute(
        update(schema.examples)
        .filter_by(head_uid=uid, digest=capture.digest)
        .values(label=before.label, own_label=before.own_label, source=before.source, reviewer=None)
    )
    supersede_feedback(connection, uid, [capture.digest])
    changed_in(connection).live.add(uid)
    return Judged(state, previous_label=None if label == before.label else label)


def _write(
    connection: Connection,
    uid: str,
    capture: CaptureRecord,
    item: NewJudgement,
    key: str,
    now: float,
    before: _Before,
) -> None:
    """Writes a judgement to all captures of the input, and ends their leases."""
    table = _TABLE.c
    state: Any = item.state.value
    if item.example is not None:
        right = (table.predicted == item.label, CaptureState.CONFIRMED.value)
        state = case(right, else_=CaptureState.CORRECTED.value)
    waits = item.state is CaptureState.WAITING
    kept = {name: getattr(before, name) for name in _Before.__slots__}
    connection.execute(
        update(_TABLE)
        .where(table.head_uid == uid, table.digest == capture.digest)
        .values(
            state=state,
            judged_label=item.label,
            judged_at=None if waits else now,
            judged_by=None if waits else key or None,
            leased_by=None,
            leased_until=None,
            before=None if item.example is None else json.dumps(kept),
        )
    )
