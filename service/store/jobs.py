"""Trainings as durable jobs: at most one unfinished per head."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Connection, delete, insert, select, update
from sqlalchemy.exc import DatabaseError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.types import NullType

from service.errors import Aborted, ExamplesForgotten, NotFound, StoredDataDamaged
from service.store import claims, schema
from service.store.changes import changed_in
from service.store.embeddings import truncated_digests
from service.store.example_sets import without_embedding
from service.store.examples import store_vectors
from service.store.head_records import HeadRecord
from service.store.heads import move_head, require_head
from service.store.sqlite import engines
from service.store.tails import NewTail, store_tail
from service.store.tenants import within_quotas
from service.store.version_bounds import remove_oldest
from service.store.versions import add_version, get_version

KEPT_PER_HEAD = 100


class JobState(StrEnum):
    """The state of a job. The last three are final."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing more happens to the job."""
        return self in (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED)


UNFINISHED = (JobState.QUEUED, JobState.RUNNING)


class _RowNumber(ColumnElement[Any]):
    """SQLite's own number of a row, which can be read whatever is in it; PostgreSQL needs none."""

    type = NullType()
    inherit_cache = True


@compiles(_RowNumber)
def _row_id(_element: _RowNumber, _compiler: SQLCompiler, **_how: Any) -> str:
    return "jobs.rowid"


@compiles(_RowNumber, "postgresql")
def _primary_key(_element: _RowNumber, _compiler: SQLCompiler, **_how: Any) -> str:
    return "jobs.id"


_row_number = _RowNumber()


@dataclass(frozen=True, slots=True)
class JobRecord:
    """A training as stored; times are seconds since the epoch.

    `backbone` is where the head is to move, None to stay. `activate` None activates the version
    unless it has no estimate and the active one has. `inactive_reason` says why it did not become
    the active one, None if it did. `removed_versions` had to go for the one it made. `claimed_by`
    is the session of the server that runs it, `forgettings` those of its head when it began to read
    examples.
    """

    id: str
    head_uid: str
    state: JobState
    spec: dict[str, Any]
    activate: bool | None
    version: int
    error_code: str
    error_message: str
    created_at: float
    ended_at: float | None
    backbone: str | None = None
    inactive_reason: str | None = None
    removed_versions: tuple[int, ...] = ()
    claimed_by: str | None = None
    forgettings: int | None = None


@dataclass(frozen=True, slots=True)
class NewVersion:
    """What a training made.

    Attributes:
        report: `adapters.Report` as JSON, with digests instead of rows, and what the server
            adds to it.
        members: labels by digest of the examples it was trained on.
        tail: what it runs on instead of the backbone's own blocks; None for these.
    """

    labels: tuple[str, ...]
    report: dict[str, Any]
    safetensors: bytes
    members: Mapping[str, str]
    tail: NewTail | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """Where a head moves: to the backbone of this name, with this fingerprint."""

    backbone: str
    fingerprint: str


def start_job(
    connection: Connection,
    uid: str,
    spec: dict[str, Any],
    activate: bool | None,
    backbone: str | None = None,
) -> JobRecord:
    """Queues a job, or returns the head's unfinished one.

    Args:
        activate: None unless a version without an estimate would replace one that has one.
        backbone: where the head is to move; None to stay.
    """
    require_head(connection, uid)
    unfinished = unfinished_job(connection, uid)
    if unfinished is not None:
        return unfinished
    job_id = uuid.uuid4().hex
    connection.execute(
        insert(schema.jobs).values(
            id=job_id,
            head_uid=uid,
            state=JobState.QUEUED,
            spec=json.dumps(spec),
            activate=activate,
            version=0,
            error_code="",
            error_message="",
            created_at=time.time(),
            backbone=backbone,
            claimed_by=claims.session_of(connection),
        )
    )
    _forget_old_jobs(connection, uid)
    return get_job(connection, uid, job_id)


def unfinished_job(connection: Connection, uid: str) -> JobRecord | None:
    """Returns the head's queued or running job, if there is one."""
    row = connection.execute(
        select(schema.jobs).where(
            schema.jobs.c.head_uid == uid, schema.jobs.c.state.in_(UNFINISHED)
        )
    ).one_or_none()
    return None if row is None else _job(row)


def get_job(connection: Connection, uid: str, job_id: str) -> JobRecord:
    """Returns a job of the head.

    Raises:
        NotFound: the head has no such job.
    """
    row = connection.execute(select(schema.jobs).filter_by(id=job_id, head_uid=uid)).one_or_none()
    if row is None:
        raise NotFound(f"training: the head has no training {job_id}", field="name", value=job_id)
    return _job(row)


def unfinished_jobs(connection: Connection, claimed_by: str | None = None) -> list[JobRecord]:
    """Returns all queued or running jobs of a server, oldest first: a restart resumes them."""
    rows = connection.execute(
        select(schema.jobs)
        .where(_unfinished(), schema.jobs.c.claimed_by.is_not_distinct_from(claimed_by))
        .order_by(schema.jobs.c.created_at)
    )
    return [_job(row) for row in rows]


def are_jobs_left(connection: Connection) -> bool:
    """Says whether there are jobs whose server is gone."""
    return claims.is_any_left(connection, _unfinished())


def take_up_jobs(connection: Connection) -> None:
    """Makes jobs whose server is gone those of the server that writes."""
    claims.claim_left(connection, _unfinished())


def standing(connection: Connection, job: JobRecord) -> tuple[JobRecord, int]:
    """Returns a job as it is now, and how often examples of its head were forgotten.

    Raises:
        NotFound: the head was deleted meanwhile.
    """
    return get_job(connection, job.head_uid, job.id), _forgettings(connection, job.head_uid)


def damaged_jobs(
    connection: Connection, read_spec: Callable[[dict[str, Any]], object]
) -> dict[int, str]:
    """Returns why unfinished jobs cannot be resumed, by the numbers of their rows.

    Args:
        read_spec: raises something for a spec that makes no sense.

    Raises:
        sqlalchemy.exc.DatabaseError: the store cannot be read, for no damage to a row.
    """
    rows = connection.scalars(
        select(_row_number).select_from(schema.jobs).where(schema.jobs.c.state.in_(UNFINISHED))
    ).all()
    found: dict[int, str] = {}
    heads: set[str] = set()
    for row in rows:
        try:
            job = _job(connection.execute(select(schema.jobs).where(_row_number == row)).one())
            read_spec(job.spec)
            require_head(connection, job.head_uid)
            if job.head_uid in heads:
                found[row] = f"training: {job.id} is not the only one of its head"
            heads.add(job.head_uid)
        except NotFound:
            found[row] = "training: it cannot be resumed, as its head is not there"
        except Exception as error:  # what reads damaged values raises nearly anything
            if isinstance(error, DatabaseError) and not engines.is_damage(error):
                raise
            found[row] = f"training: it cannot be resumed, as what is stored is damaged: {error}"
    return found


def end_damaged_jobs(connection: Connection, why: Mapping[int, str]) -> None:
    """Ends jobs that cannot be resumed; see `damaged_jobs`."""
    for row, words in why.items():
        head = connection.scalar(select(schema.jobs.c.head_uid).where(_row_number == row))
        changed_in(connection).trainings.add(str(head))
        connection.execute(
            update(schema.jobs)
            .where(_row_number == row)
            .values(
                state=JobState.FAILED,
                error_code="INTERNAL",
                error_message=words,
                ended_at=time.time(),
            )
        )


def mark_running(connection: Connection, uid: str, job_id: str) -> JobRecord:
    """Records that the fit has begun: it reads examples from now on.

    Raises:
        NotFound: the head was deleted meanwhile.
        Aborted: another server has taken it up.
    """
    claims.check_claim(connection, get_job(connection, uid, job_id).claimed_by)
    read = _forgettings(connection, uid)
    return _set(connection, uid, job_id, state=JobState.RUNNING, forgettings=read)


def finish_with_version(
    connection: Connection,
    job: JobRecord,
    new: NewVersion,
    move: Move | None = None,
    max_versions: int | None = None,
) -> JobRecord | None:
    """Stores what a job made, moves the head if it is to move, and ends the job, in one step.

    None, and nothing is changed, if an example lacks its embedding by the backbone that the head
    is to move to: it came meanwhile.

    Args:
        max_versions: how many the head may have, as in `remove_oldest`.

    Raises:
        NotFound: the head was deleted meanwhile.
        Aborted: the job was ended otherwise meanwhile, or another server has taken it up.
        ExamplesForgotten: of those that it has read.
        StorageQuotaExceeded: the tenant would store more than it may.
    """
    stored = get_job(connection, job.head_uid, job.id)
    if stored.state is JobState.SUCCEEDED:
        return stored  # the answer to this was lost
    if stored.state.final:
        raise Aborted("training: it was ended meanwhile")
    claims.check_claim(connection, stored.claimed_by)
    if stored.forgettings not in (None, _forgettings(connection, job.head_uid)):
        raise ExamplesForgotten("training: examples that it has read were forgotten meanwhile")
    head = require_head(connection, job.head_uid)
    reason = None if move is not None else _why_inactive(connection, head, job, new.report)
    if move is not None:
        if without_embedding(connection, head.uid, move.fingerprint):
            return None
        head = move_head(connection, head.uid, move.backbone, move.fingerprint)
    with within_quotas(connection, head.tenant_id):
        if new.tail is not None:
            store_tail(connection, head, new.tail)
            vectors = new.tail.vectors
            truncated = truncated_digests(connection, head.tenant, head.fingerprint, list(vectors))
            store_vectors(connection, head.uid, new.tail.fingerprint, vectors, truncated)
        version = add_version(
            connection,
            job.head_uid,
            source="training",
            labels=new.labels,
            report=new.report,
            example_count=len(new.members),
            safetensors=new.safetensors,
            activate=reason is None,
            members=new.members,
            tail=None if new.tail is None else new.tail.fingerprint,
        )
        removed = remove_oldest(connection, job.head_uid, version, max_versions)
    return _set(
        connection,
        job.head_uid,
        job.id,
        state=JobState.SUCCEEDED,
        version=version,
        removed_versions=",".join(map(str, removed)) or None,
        inactive_reason=reason,
        ended_at=time.time(),
    )


def finish_without_version(
    connection: Connection, job: JobRecord, state: JobState, code: str = "", message: str = ""
) -> JobRecord:
    """Ends a job that failed or was cancelled; a job that has ended stays as it is.

    Raises:
        Aborted: it failed here, but another server has taken it up.
    """
    current = get_job(connection, job.head_uid, job.id)
    if current.state.final:
        return current
    if state is JobState.FAILED:
        claims.check_claim(connection, current.claimed_by)
    return _set(
        connection,
        job.head_uid,
        job.id,
        state=state,
        error_code=code,
        error_message=message,
        ended_at=time.time(),
    )


def _why_inactive(
    connection: Connection, head: HeadRecord, job: JobRecord, report: Mapping[str, Any]
) -> str | None:
    """Returns why a new version is not to become the active one; None if it is."""
    if job.activate is False:
        return "the training was asked not to activate it"
    if job.activate or report["estimate"] is not None or not head.active_version:
        return None
    active = get_version(connection, head.uid, head.active_version)
    if active.report["estimate"] is None:
        return None
    return (
        f"it has no estimate, and the active version {active.version} has one: activate it by its "
        "number if it is to answer all the same"
    )


def _unfinished() -> ColumnElement[bool]:
    return schema.jobs.c.state.in_(UNFINISHED)


def _forgettings(connection: Connection, uid: str) -> int:
    return connection.scalar(select(schema.heads.c.forgettings).filter_by(uid=uid)) or 0


def _set(connection: Connection, uid: str, job_id: str, **values: Any) -> JobRecord:
    if "ended_at" in values:
        changed_in(connection).trainings.add(uid)
    connection.execute(update(schema.jobs).where(schema.jobs.c.id == job_id).values(**values))
    return get_job(connection, uid, job_id)


def _forget_old_jobs(connection: Connection, uid: str) -> None:
    kept = (
        select(schema.jobs.c.id)
        .where(schema.jobs.c.head_uid == uid)
        .order_by(schema.jobs.c.created_at.desc())
        .limit(KEPT_PER_HEAD)
    )
    connection.execute(
        delete(schema.jobs).where(schema.jobs.c.head_uid == uid, schema.jobs.c.id.not_in(kept))
    )


def _job(row: Any) -> JobRecord:
    values = dict(row._mapping)
    try:
        values |= {"state": JobState(values["state"]), "spec": dict(json.loads(values["spec"]))}
        removed = values["removed_versions"]
        values["removed_versions"] = tuple(map(int, removed.split(","))) if removed else ()
    except (ValueError, TypeError, AttributeError) as error:
        raise StoredDataDamaged(
            f"training: what is stored of {values['id']} cannot be read: {error}",
            field="name",
            value=values["id"],
        ) from error
    return JobRecord(**values)
