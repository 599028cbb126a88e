"""Heads with what lists show of them, read together however many heads there are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, case, func, select

from service.store import schema
from service.store.captures import CaptureState
from service.store.example_rules import DESCRIPTION
from service.store.feedback_states import FeedbackState
from service.store.head_records import HeadCounts, HeadRecord
from service.store.heads import get_head, list_heads
from service.store.jobs import UNFINISHED
from service.store.label_forms import read_json
from service.store.sql import json_part, select_among

_ACTIVE = (
    select(
        schema.heads.c.uid,
        schema.versions.c.labels,
        schema.versions.c.created_at,
        json_part(schema.versions.c.report, "estimate"),
        schema.versions.c.source,
        json_part(schema.versions.c.report, "description_count"),
        # Some 10 kB, which only heads with a rule need.
        case(
            (schema.heads.c.decide.is_not(None), json_part(schema.versions.c.report, "decisions"))
        ),
    )
    .select_from(schema.heads)
    .join(
        schema.versions,
        and_(
            schema.versions.c.head_uid == schema.heads.c.uid,
            schema.versions.c.version == schema.heads.c.active_version,
        ),
    )
)


@dataclass(frozen=True, slots=True)
class HeadSummary:
    """A head with what is stored for it.

    Attributes:
        labels, estimate, active_created_at: of its active version; empty or None where there is
            none. A version without an estimate has None.
        source, decisions: likewise, how it was made and its `adapters.DecisionCurve` as JSON, which
            is None for heads that decide nothing, too.
        described: whether it stands on descriptions of labels, in part at least.
        training: id of its unfinished job, if there is one.
    """

    head: HeadRecord
    counts: HeadCounts
    labels: tuple[str, ...] = ()
    estimate: Mapping[str, Any] | None = None
    active_created_at: float | None = None
    training: str | None = None
    source: str = ""
    described: bool = False
    decisions: Mapping[str, Any] | None = None


def get_summary(connection: Connection, tenant: str, name: str) -> HeadSummary:
    """Returns the head of this name.

    Raises:
        NotFound: there is none.
    """
    (summary,) = _summaries(connection, [get_head(connection, tenant, name)])
    return summary


def list_summaries(
    connection: Connection,
    tenant: str | None,
    after: str,
    limit: int,
    visible: Sequence[str] = (),
) -> list[HeadSummary]:
    """Returns the heads that `list_heads` does, with six queries for each 500 of them."""
    return _summaries(connection, list_heads(connection, tenant, after, limit, visible))


def count(connection: Connection, uid: str) -> HeadCounts:
    """Counts what is stored for a head."""
    return _counts(connection, [uid])[uid]


def _summaries(connection: Connection, heads: Sequence[HeadRecord]) -> list[HeadSummary]:
    uids = [head.uid for head in heads]
    counts = _counts(connection, uids)
    active = {row[0]: row for row in select_among(connection, _ACTIVE, schema.heads.c.uid, uids)}
    job = schema.jobs.c
    jobs = select(job.head_uid, job.id).where(job.state.in_(UNFINISHED))
    running = {row.head_uid: row.id for row in select_among(connection, jobs, job.head_uid, uids)}
    return [
        HeadSummary(
            head,
            counts[head.uid],
            **_of_version(active.get(head.uid)),
            training=running.get(head.uid),
        )
        for head in heads
    ]


def _of_version(row: Row[*tuple[Any, ...]] | None) -> dict[str, Any]:
    if row is None:
        return {}
    _, labels, created_at, estimate, source, descriptions, decisions = row
    return {
        "labels": tuple(dict.fromkeys(read_json(labels))),
        "estimate": None if estimate is None else json.loads(estimate),
        "active_created_at": created_at,
        "source": source,
        "described": int(descriptions or 0) > 0,
        "decisions": None if decisions is None else json.loads(decisions),
    }


def _counts(connection: Connection, uids: Sequence[str]) -> dict[str, HeadCounts]:
    """Counts what is stored for heads, by uid."""
    example, feedback = schema.examples.c, schema.feedback.c
    held_out = example.held_out & example.label.is_not(None)
    examples = (
        select(
            example.head_uid,
            func.count(),
            func.count(example.label),
            func.count(case((held_out, 1))),
        )
        .where(example.source != DESCRIPTION)
        .group_by(example.head_uid)
    )
    in_quarantine = case((feedback.state == FeedbackState.QUARANTINED, 1))
    feedbacks = select(feedback.head_uid, func.count(), func.count(in_quarantine)).group_by(
        feedback.head_uid
    )
    stored = dict.fromkeys(uids, (0, 0, 0))
    for uid, *counts in select_among(connection, examples, example.head_uid, uids):
        stored[uid] = tuple(counts)
    given = dict.fromkeys(uids, (0, 0))
    for uid, *counts in select_among(connection, feedbacks, feedback.head_uid, uids):
        given[uid] = tuple(counts)
    captures = schema.captures.c
    waiting = (
        select(captures.head_uid, func.count())
        .where(captures.state == CaptureState.WAITING.value)
        .group_by(captures.head_uid)
    )
    captured = {
        uid: count for uid, count in select_among(connection, waiting, captures.head_uid, uids)
    }
    found = {}
    for uid, (total, labelled, tests) in stored.items():
        sent, quarantined = given[uid]
        found[uid] = HeadCounts(total, labelled, sent, tests, quarantined, captured.get(uid, 0))
    return found
