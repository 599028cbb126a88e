"""Every write says what it changes of what memory may hold; one that is not tried here fails."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, select

import adapters
import service
from models.tails import tail_fingerprint
from service.access.caller import ANYONE, Role
from service.access.key_in_store import _add_and_tell
from service.access.operator_key import _add_first, add_operator_key
from service.capture import queue as capture_queue
from service.capture.rules import CaptureRules
from service.errors import NotFound, PreconditionFailed
from service.handlers import examples as example_calls
from service.handlers import heads as head_calls
from service.handlers import keys as key_calls
from service.handlers import labels as label_calls
from service.handlers import versions as version_calls
from service.live import Policy
from service.serving import head_cache
from service.store import Database, reviews, schema
from service.store import audit as stored_audit
from service.store import captures as stored_captures
from service.store import embeddings as stored_embeddings
from service.store import examples as stored_examples
from service.store import feedback as stored_feedback
from service.store import forgetting as stored_forgetting
from service.store import heads as stored_heads
from service.store import jobs as stored_jobs
from service.store import keys as stored_keys
from service.store import labels as stored_labels
from service.store import live_outcomes as outcomes
from service.store import live_set as stored_live
from service.store import tenants as stored_tenants
from service.store.cache_secrets import make_secrets
from service.store.captures import CaptureBounds, CaptureState, store_captures
from service.store.change_feed import clear_changes
from service.store.feedback_states import quarantine
from service.store.head_records import HeadRecord
from service.store.jobs import JobRecord, JobState, Move, NewVersion
from service.store.judgements import NewJudgement, judge
from service.store.keys import KeyRecord
from service.store.labels import LabelChanges
from service.store.live_outcomes import Score
from service.store.quotas import Quotas
from service.store.secrets import kept_secret
from service.store.tails import NewTail
from service.store.usage import Used, add_usage
from tests.service.store.records import (
    MANY,
    add_examples,
    changed_by,
    example,
    feedback,
    new_head,
)
from tests.service.store.test_reviews import capture
from tests.service.tiny_backbone import DIM, FINGERPRINT, info, vector_of
from trunkline.digest import text_digest
from trunkline.resources import HeadName, VersionName

NAME = HeadName.parse("tenants/acme/heads/defects")
A, B, LIVE = map(text_digest, ("a", "b", "live"))
NOTHING = np.empty(0, np.float32)
OTHER = "0" * 64
BOUNDS = CaptureRules().bounds
OTHER_HASH = b"x" * 32
AUDITED = stored_audit.AuditRow(1.0, "", "", "DeleteHead", "", "OK", "", "grpc", "")
SPEC = adapters.HeadSpec(family="ridge")
HEAD = adapters.Head(
    family="ridge",
    labels=("x", "y"),
    weight=np.zeros((2, DIM), np.float32),
    bias=np.zeros(2, np.float32),
    fingerprint=FINGERPRINT,
)


def key_of(connection: Connection) -> KeyRecord:
    (key,) = stored_keys.list_keys(connection, None, 0, 2)
    return key


def anybody(connection: Connection) -> None:
    """Lets anybody make keys."""


def new_version(tail: NewTail | None = None) -> NewVersion:
    report = {"family": "ridge", "spec": SPEC.to_json(), "estimate": None}
    return NewVersion(HEAD.labels, report, HEAD.to_safetensors(), {A: "x", B: "y"}, tail)


def filled(connection: Connection) -> HeadRecord:
    """A head of two versions, the first on a tail, with feedback in two states and a training.

    Something of its traffic was captured.
    """
    head = new_head(connection)
    add_operator_key(connection, bytes(32), "")
    add_examples(connection, head.uid, example("a", "x"), example("b", "y"))
    data = b"weights of a tail"
    vectors = {A: vector_of("tail a"), B: vector_of("tail b")}
    tail = NewTail(tail_fingerprint(data), "tail", ("one",), data, vectors)
    for new in (new_version(tail), new_version()):
        finish(connection, head, new)
    send(connection, head, "b", "x")
    quarantine(connection, head.uid, [1])
    send(connection, head, "live")
    vectors = dict.fromkeys((A, B, LIVE), vector_of("another backbone's"))
    stored_embeddings.store_embeddings(connection, head, vectors, OTHER)
    stored_jobs.start_job(connection, head.uid, SPEC.to_json(), True)
    stored_heads.update_head(connection, head.uid, capture={"random_share": 1.0})
    store_captures(connection, head.uid, [capture("seen", "x")], CaptureBounds(9, 9, 9, MANY, 9))
    return stored_heads.require_head(connection, head.uid)


def send(connection: Connection, head: HeadRecord, text: str, label: str = "y") -> None:
    item = feedback(f"{text} is {label}", text, label)
    stored_feedback.store_feedback(connection, head.uid, [item], max_examples=MANY)


def job_of(connection: Connection, head: HeadRecord) -> JobRecord:
    return stored_jobs.start_job(connection, head.uid, SPEC.to_json(), True)


def finish(
    connection: Connection, head: HeadRecord, new: NewVersion, move: Move | None = None
) -> None:
    stored_jobs.finish_with_version(connection, job_of(connection, head), new, move)


def forget(connection: Connection, head: HeadRecord, digest: str) -> None:
    plan = stored_forgetting.plan(connection, head.uid, [digest])
    stored_forgetting.forget(connection, head.uid, plan, None)


def promote(connection: Connection, head: HeadRecord) -> None:
    members = stored_live.composition(connection, head, MANY)
    new = replace(new_version(), members=members)
    outcomes.promote_live(connection, head.uid, 2, through=MANY, new=new)


def score(connection: Connection, head: HeadRecord, changed_at: int | None) -> None:
    scores = [Score(2, active_right=True, live_right=True)]
    outcomes.store_scores(connection, head.uid, 2, scores, changed_at)


def import_head(connection: Connection, *, activate: bool, most: int | None = None) -> None:
    version_calls._import(connection, NAME, info(), HEAD, activate=activate, max_versions=most)


def rename(connection: Connection, head: HeadRecord, old: str, new: str) -> None:
    cancel(connection, head)
    weights = label_calls._with_names(HEAD.to_safetensors(), {old: new})
    label_calls._rename(connection, NAME, head.active_version, old, new, weights, None)


def change(
    connection: Connection, head: HeadRecord, labels: list[str], by: label_calls.Change
) -> None:
    cancel(connection, head)
    add_examples(connection, head.uid, example("fresh", "z"))
    label_calls._change(connection, NAME, labels, by, MANY)


def cancel(connection: Connection, head: HeadRecord) -> None:
    stored_jobs.finish_without_version(connection, job_of(connection, head), JobState.CANCELLED)


def merged(connection: Connection, head: HeadRecord) -> LabelChanges:
    return stored_labels.change_labels(connection, head, ["x"], "z")


def taken_away(connection: Connection, head: HeadRecord) -> LabelChanges:
    return stored_labels.take_label_away(connection, head, "x", delete_examples=True)


def lease(connection: Connection, head: HeadRecord) -> None:
    reviews.lease_reviews(
        connection, head.uid, reviews.Sought(), after=None, limit=9, reviewer="one", now=1.0
    )


def say(connection: Connection, head: HeadRecord, label: str) -> None:
    """Judges the captured input."""
    page = reviews.list_reviews(connection, head.uid, reviews.Sought(), after=None, limit=9)
    made = replace(example("seen", label), source="feedback")
    judge(
        connection,
        head.uid,
        [NewJudgement(page.reviews[0].id, CaptureState.CORRECTED, made)],
        key="",
        now=1.0,
        max_examples=MANY,
        max_classes=MANY,
        fingerprint=FINGERPRINT,
    )


Write = Callable[[Connection, HeadRecord], object]


def _refuse(spec: dict[str, object]) -> None:
    raise ValueError(spec)


WRITES: list[tuple[str, Write, set[str]]] = [
    ("create_head", lambda c, head: new_head(c, "other"), set()),
    (
        "_update",
        lambda c, head: head_calls._update(c, NAME, Policy.IMMEDIATE, None, None, True),
        {"heads", "live"},
    ),
    (
        "_update",
        lambda c, head: head_calls._update(
            c, NAME, None, None, replace(SPEC, average_views=2), False
        ),
        {"heads", "live"},
    ),
    (
        "delete_head",
        lambda c, head: stored_heads.delete_head(c, NAME.tenant, NAME.head),
        {"heads", "live", "needed", "tails"},
    ),
    (
        "_add",
        lambda c, head: key_calls._add(c, anybody, OTHER_HASH, tenant="acme", roles=[Role.OWN]),
        {"keys"},
    ),
    ("_add_first", lambda c, head: _add_first(c, OTHER_HASH), set()),
    ("_add_and_tell", lambda c, head: _add_and_tell(c, OTHER_HASH, "note", None), {"keys"}),
    ("_revoke", lambda c, head: key_calls._revoke(c, key_of(c).name, ANYONE), {"keys"}),
    (
        "_rotate",
        lambda c, head: key_calls._rotate(c, anybody, key_of(c).name, ANYONE, OTHER_HASH, 60.0),
        {"keys"},
    ),
    ("clear_changes", lambda c, head: clear_changes(c), set()),
    ("add_audit_rows", lambda c, head: stored_audit.add_audit_rows(c, [AUDITED]), set()),
    ("delete_audit_rows", lambda c, head: stored_audit.delete_audit_rows(c, 2.0, 9), set()),
    ("note_use", lambda c, head: stored_keys.note_use(c, key_of(c).id, 1e9), set()),
    (
        "update_quotas",
        lambda c, head: stored_tenants.update_quotas(c, NAME.tenant, {"examples": 1}),
        {"quotas"},
    ),
    (
        "delete_tenant",
        lambda c, head: stored_tenants.delete_tenant(c, NAME.tenant),
        {"heads", "live", "needed", "tails", "quotas", "gone"},
    ),
    ("make_secrets", lambda c, head: make_secrets(c, NAME.tenant), set()),
    ("kept_secret", lambda c, head: kept_secret(c, "page tokens", b"k"), set()),
    ("add_usage", lambda c, head: add_usage(c, {(NAME.tenant, 0): Used(1)}), set()),
    ("_store", lambda c, head: capture_queue._store(c, head.uid, [], BOUNDS), set()),
    ("expire_captures", lambda c, head: stored_captures.expire_captures(c, 1.0, 1), set()),
    ("delete_old_records", lambda c, head: stored_captures.delete_old_records(c, 1.0, 1), set()),
    ("withdraw_captures", lambda c, head: stored_captures.withdraw_captures(c, [OTHER]), set()),
    ("_import", lambda c, head: import_head(c, activate=True), {"heads", "live"}),
    ("_import", lambda c, head: import_head(c, activate=False), set()),
    ("_import", lambda c, head: import_head(c, activate=True, most=2), {"heads", "live", "tails"}),
    (
        "_pin",
        lambda c, head: version_calls._pin(c, VersionName(NAME, 1), pinned=True, max_versions=None),
        set(),
    ),
    (
        "_delete_version",
        lambda c, head: version_calls._delete_version(c, VersionName(NAME, 1)),
        {"tails"},
    ),
    (
        "_activate",
        lambda c, head: version_calls._activate(c, VersionName(NAME, 1)),
        {"heads", "live"},
    ),
    ("_activate", lambda c, head: version_calls._activate(c, VersionName(NAME, 2)), set()),
    ("forget", lambda c, head: forget(c, head, A), {"heads", "live", "needed", "tails"}),
    ("forget", lambda c, head: forget(c, head, LIVE), {"live", "needed"}),
    (
        "_update_labels",
        lambda c, head: example_calls._update_labels(c, head.uid, [(A, "y")]),
        {"live"},
    ),
    (
        "_delete",
        lambda c, head: example_calls._delete(c, head.uid, [A, B]),
        {"live", "needed"},
    ),
    ("store_examples", lambda c, head: add_examples(c, head.uid, example("new", "x")), set()),
    ("store_examples", lambda c, head: add_examples(c, head.uid, example("a", "y")), {"live"}),
    (
        "store_examples",
        lambda c, head: add_examples(c, head.uid, replace(example("a"), weight=2.0)),
        {"live"},
    ),
    ("store_examples", lambda c, head: add_examples(c, head.uid, example("live", "x")), {"live"}),
    ("store_feedback", lambda c, head: send(c, head, "new"), {"feedback"}),
    ("store_feedback", lambda c, head: send(c, head, "live", "x"), {"live", "feedback"}),
    ("store_feedback", lambda c, head: send(c, head, "live"), set()),
    (
        "release_feedback",
        lambda c, head: stored_feedback.release_feedback(c, head.uid, None),
        {"live"},
    ),
    ("lease_reviews", lambda c, head: lease(c, head), set()),
    ("judge", lambda c, head: say(c, head, "x"), {"feedback"}),
    ("promote_live", promote, {"heads", "live"}),
    ("drop_live", lambda c, head: outcomes.drop_live(c, head.uid, 2, through=MANY), {"live"}),
    ("store_scores", lambda c, head: score(c, head, None), set()),
    ("store_scores", lambda c, head: score(c, head, 2), {"live"}),
    ("_rename", lambda c, head: rename(c, head, "x", "z"), {"heads", "live", "trainings"}),
    ("change", lambda c, head: change(c, head, ["x"], merged), {"live", "trainings"}),
    (
        "change",
        lambda c, head: change(c, head, ["x"], taken_away),
        {"live", "needed", "trainings"},
    ),
    ("start_job", job_of, set()),
    (
        "mark_running",
        lambda c, head: stored_jobs.mark_running(c, head.uid, job_of(c, head).id),
        set(),
    ),
    (
        "finish_with_version",
        lambda c, head: finish(c, head, new_version()),
        {"heads", "live", "trainings"},
    ),
    (
        "finish_with_version",
        lambda c, head: finish(c, head, new_version(), Move("tiny/other", OTHER)),
        {"heads", "live", "trainings"},
    ),
    (
        "finish_without_version",
        lambda c, head: stored_jobs.finish_without_version(c, job_of(c, head), JobState.CANCELLED),
        {"trainings"},
    ),
    ("take_up_jobs", lambda c, head: stored_jobs.take_up_jobs(c), set()),
    (
        "end_damaged_jobs",
        lambda c, head: stored_jobs.end_damaged_jobs(c, stored_jobs.damaged_jobs(c, _refuse)),
        {"trainings"},
    ),
    (
        "store_views",
        lambda c, head: stored_examples.store_views(c, head.uid, {A: {"v": vector_of("v")}}),
        set(),
    ),
    (
        "store_vectors",
        lambda c, head: stored_examples.store_vectors(c, head.uid, "1" * 64, {A: vector_of("v")}),
        set(),
    ),
]


def names_of_writes() -> Iterator[str]:
    """Yields the name of each function that the service hands to `Database.write`."""
    for path in Path(service.__path__[0]).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            match node:
                case ast.Call(
                    func=ast.Attribute(
                        attr="write", value=ast.Name(id=owner) | ast.Attribute(attr=owner)
                    ),
                    args=[ast.Name(id=name) | ast.Attribute(attr=name), *_],
                ) if "database" in owner:
                    yield name


def test_every_write_of_the_service_is_tried_here() -> None:
    assert {name for name, _, _ in WRITES} == set(names_of_writes())


@dataclass(frozen=True)
class Held:
    """What memory may hold of the head.

    Attributes:
        answer: what answers predictions.
        base: what a live copy is built on, beside feedback.
        feedback: what live feedback says, by its id.
        keys: those that calls may show.
        trainings: those that have ended.
        quotas: by the names of tenants.
    """

    answer: object
    base: object
    feedback: Mapping[int, object]
    inputs: Set[str]
    tails: Set[str]
    keys: Set[KeyRecord]
    trainings: Set[str]
    quotas: Mapping[str, Quotas]

    def changes(self, after: Held) -> set[str]:
        taken_back = any(after.feedback.get(key) != said for key, said in self.feedback.items())
        found = {
            "heads": self.answer != after.answer,
            "live": self.base != after.base or taken_back,
            "feedback": after.feedback.keys() - self.feedback.keys(),
            "needed": self.inputs - after.inputs,
            "tails": self.tails - after.tails,
            "keys": self.keys != after.keys,
            "trainings": after.trainings - self.trainings,
            "quotas": self.quotas != after.quotas,
            "gone": self.quotas.keys() - after.quotas.keys(),
        }
        return {name for name, changed in found.items() if changed}


def held(connection: Connection, uid: str) -> Held:
    inputs = set(stored_examples.all_digests(connection, uid))
    inputs |= set(stored_captures.captured_digests(connection, uid))
    tails = set(connection.scalars(select(schema.tails.c.fingerprint)))
    keys = {replace(key, used_at=None) for key in stored_keys.list_keys(connection, None, 0, MANY)}
    tenants = stored_tenants.list_tenants(connection, "", MANY)
    states = schema.jobs.c
    ended = select(states.id).where(states.state.not_in(stored_jobs.UNFINISHED))
    trainings = set(connection.scalars(ended.where(states.head_uid == uid)))
    rest = inputs, tails, keys, trainings, {tenant.name: tenant.quotas for tenant in tenants}
    try:
        read, tail = head_cache._read_head(connection, NAME, 0)
        found = stored_live.live_set(connection, uid)
    except (NotFound, PreconditionFailed) as error:
        return Held(type(error), type(error), {}, *rest)
    members = {item.digest: replace(item, vector=NOTHING) for item in found.members}
    feedback = {
        item.id: replace(item, vector=NOTHING, active_right=None, live_right=None)
        for item in found.feedback
    }
    return Held((replace(read, head=HEAD), tail), (found.head, members), feedback, *rest)


@pytest.mark.parametrize(
    ("write", "expected"),
    [(write, expected) for _, write, expected in WRITES],
    ids=[name for name, _, _ in WRITES],
)
async def test_write_says_what_it_changes(
    write: Write, expected: set[str], database: Database
) -> None:
    head = await database.write(filled)
    before = await database.read(held, head.uid)
    changed = await changed_by(database, write, head)
    found = before.changes(after := await database.read(held, head.uid))
    assert found <= expected
    assert bool(found) == bool(expected)
    assert {name for name, noted in asdict(changed).items() if noted} == expected
    assert changed.heads <= {str(NAME)}
    assert changed.live <= {head.uid}
    assert changed.feedback in ({}, {head.uid: NAME.tenant})
    assert changed.needed.get(NAME.tenant, {}).keys() == before.inputs - after.inputs
    assert changed.tails.get(NAME.tenant, set()) == before.tails - after.tails
