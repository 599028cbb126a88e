"""Heads, versions, and trainings as jobs."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, update

from service.errors import Aborted, AlreadyExists, NotFound
from service.store import Database, schema
from service.store import head_summaries as summaries
from service.store import heads as stored
from service.store import jobs as stored_jobs
from service.store import versions as stored_versions
from service.store.feedback import store_feedback
from service.store.head_records import HeadCounts
from service.store.jobs import JobRecord, JobState, NewVersion
from service.store.version_members import members_of
from tests.service.store.records import add_examples, add_version, example, feedback, new_head

SPEC = {"family": "ridge", "seed": 3, "l2": None}


async def test_head_comes_back_as_it_was_made(database: Database) -> None:
    made = await database.write(new_head)
    assert await database.read(stored.get_head, "acme", "defects") == made
    assert made.resource == "tenants/acme/heads/defects"
    assert made.active_version == 0


async def test_name_is_taken_within_its_tenant_alone(database: Database) -> None:
    await database.write(new_head)
    with pytest.raises(AlreadyExists):
        await database.write(new_head)
    await database.write(new_head, tenant="bolt")


async def test_unknown_head_is_not_found(database: Database) -> None:
    await database.write(new_head)
    for tenant, name in (("acme", "other"), ("bolt", "defects")):
        with pytest.raises(NotFound, match=f"tenants/{tenant}/heads/{name}"):
            await database.read(stored.get_head, tenant, name)


async def test_name_of_a_deleted_head_can_be_used_again_and_starts_empty(
    database: Database,
) -> None:
    old = await database.write(new_head)
    await database.write(add_examples, old.uid, example("x", "a"))
    await database.write(add_version, old.uid, activate=True)
    await database.write(stored_jobs.start_job, old.uid, SPEC, True)
    rows = [feedback("1", "x", "a")]
    await database.write(store_feedback, old.uid, rows, max_examples=9)
    await database.write(stored.delete_head, "acme", "defects")
    new = await database.write(new_head)
    assert new.uid != old.uid
    assert await database.read(summaries.count, new.uid) == HeadCounts(0, 0, 0)
    assert await database.read(stored_versions.list_versions, new.uid, 99, 9) == []
    assert await database.read(stored_jobs.unfinished_jobs) == []
    with pytest.raises(NotFound):
        await database.read(stored.require_head, old.uid)


async def test_heads_are_listed_by_tenant_and_name_page_by_page(database: Database) -> None:
    for name in ("c", "a", "b"):
        await database.write(new_head, name)
    for tenant in ("bolt", "abc"):
        await database.write(new_head, "b", tenant)

    async def listed(tenant: str | None, after: str, limit: int = 9) -> list[str]:
        return [head.short for head in await database.read(stored.list_heads, tenant, after, limit)]

    assert await listed("acme", "", 2) == ["acme/a", "acme/b"]
    assert await listed("acme", "acme/b") == ["acme/c"]
    assert await listed("nobody", "") == []
    everything = ["abc/b", "acme/a", "acme/b", "acme/c", "bolt/b"]
    assert await listed(None, "") == everything
    assert await listed(None, "acme/a", 2) == ["acme/b", "acme/c"]
    # A page goes on after a head that is gone.
    await database.write(stored.delete_head, "acme", "b")
    assert await listed(None, "acme/b") == everything[3:]


async def test_heads_are_summarised_with_their_active_versions_and_counts(
    database: Database,
) -> None:
    first, second = [await database.write(new_head, name) for name in ("a", "b")]
    await database.write(new_head, "c", "bolt")
    estimate = {"method": "leave-one-out", "accuracy": 0.9}
    await database.write(add_version, first.uid, activate=True, report={"estimate": estimate})
    await database.write(add_version, first.uid, activate=False, report={"estimate": None})
    await database.write(add_version, second.uid, activate=True, report={"estimate": None})
    await database.write(add_examples, second.uid, example("x", "a"), example("y"))
    job = await database.write(stored_jobs.start_job, second.uid, SPEC, True)
    a, b, c = await database.read(summaries.list_summaries, None, "", 9)
    assert (a.head.name, a.estimate, a.labels) == ("a", estimate, ("a", "b"))
    assert a.active_created_at is not None
    assert (b.estimate, b.counts, b.training) == (None, HeadCounts(2, 1, 0), job.id)
    assert c == summaries.HeadSummary(c.head, HeadCounts(0, 0, 0))
    assert await database.read(summaries.get_summary, "acme", "a") == a


async def test_damaged_report_takes_no_other_head_from_the_list(database: Database) -> None:
    heads = [await database.write(new_head, name) for name in ("a", "b")]
    for head in heads:
        await database.write(add_version, head.uid, activate=True, report={"estimate": {"a": 1}})

    def damage(connection: Connection) -> None:
        table = schema.versions
        damaged = update(table).where(table.c.head_uid == heads[0].uid).values(report='{"estim')
        connection.execute(damaged)

    await database.write(damage)
    found = await database.read(summaries.list_summaries, "acme", "", 9)
    assert [row.estimate for row in found] == [None, {"a": 1}]


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([], ["Ab", "a", "a-1", "a_1", "ab", "b"]),
        (["a"], ["a"]),
        (["a*"], ["a", "a-1", "a_1", "ab"]),
        (["a_*"], ["a_1"]),
        (["*"], ["Ab", "a", "a-1", "a_1", "ab", "b"]),
        (["b", "A*"], ["Ab", "b"]),
        (["%", "c"], []),
    ],
)
async def test_heads_are_listed_by_patterns_page_by_page(
    database: Database, patterns: list[str], names: list[str]
) -> None:
    for name in ("b", "a", "Ab", "ab", "a_1", "a-1"):
        await database.write(new_head, name)
    listed: list[str] = []
    after = ""
    while page := await database.read(stored.list_heads, "acme", after, 2, patterns):
        listed += [head.name for head in page]
        after = page[-1].short
        assert len(page) == 2 or len(listed) == len(names)
    assert listed == names


async def test_versions_count_up_and_never_again(database: Database) -> None:
    head = await database.write(new_head)
    numbers = [await database.write(add_version, head.uid, activate=False) for _ in range(3)]
    assert numbers == [1, 2, 3]
    listed = await database.read(stored_versions.list_versions, head.uid, 3, 9)
    assert [record.version for record in listed] == [2, 1]


async def test_version_answers_once_it_is_activated(database: Database) -> None:
    head = await database.write(new_head)
    await database.write(add_version, head.uid, b"one", activate=True)
    await database.write(add_version, head.uid, b"two", activate=False)
    assert (await database.read(stored.require_head, head.uid)).active_version == 1
    await database.write(stored_versions.activate_version, head.uid, 2)
    assert (await database.read(stored.require_head, head.uid)).active_version == 2
    assert await database.read(stored_versions.get_weights, head.uid, 1) == b"one"
    with pytest.raises(NotFound):
        await database.write(stored_versions.activate_version, head.uid, 3)
    assert (await database.read(stored.require_head, head.uid)).active_version == 2


def finish(connection: Connection, job: JobRecord) -> JobRecord:
    new = NewVersion(("a", "b"), {}, b"w", {"0" * 64: "a", "1" * 64: "b"})
    finished = stored_jobs.finish_with_version(connection, job, new)
    assert finished is not None
    return finished


async def test_job_runs_from_queue_to_version(database: Database) -> None:
    head = await database.write(new_head)
    job = await database.write(stored_jobs.start_job, head.uid, SPEC, True)
    assert (job.state, job.spec, job.version) == (JobState.QUEUED, SPEC, 0)
    running = await database.write(stored_jobs.mark_running, head.uid, job.id)
    assert running.state is JobState.RUNNING
    done = await database.write(finish, job)
    assert (done.state, done.version) == (JobState.SUCCEEDED, 1)
    assert done.ended_at is not None
    assert (await database.read(stored.require_head, head.uid)).active_version == 1
    assert await database.read(members_of, head.uid, 1) == {"0" * 64: "a", "1" * 64: "b"}
    assert await database.read(stored_jobs.unfinished_job, head.uid) is None


async def test_version_of_a_job_waits_if_it_is_not_to_be_activated(database: Database) -> None:
    head = await database.write(new_head)
    job = await database.write(stored_jobs.start_job, head.uid, SPEC, False)
    await database.write(finish, job)
    assert (await database.read(stored.require_head, head.uid)).active_version == 0


async def test_head_has_at_most_one_unfinished_job(database: Database) -> None:
    head = await database.write(new_head)
    other = await database.write(new_head, "other")
    first = await database.write(stored_jobs.start_job, head.uid, SPEC, True)
    joined = await database.write(stored_jobs.start_job, head.uid, {**SPEC, "seed": 9}, False)
    beside = await database.write(stored_jobs.start_job, other.uid, SPEC, True)
    assert joined == first
    assert beside.id != first.id
    await database.write(stored_jobs.finish_without_version, first, JobState.CANCELLED)
    new = await database.write(stored_jobs.start_job, head.uid, SPEC, True)
    assert new.id != first.id


async def test_job_that_was_cancelled_makes_no_version(database: Database) -> None:
    head = await database.write(new_head)
    job = await database.write(stored_jobs.start_job, head.uid, SPEC, True)
    await database.write(stored_jobs.finish_without_version, job, JobState.CANCELLED)
    with pytest.raises(Aborted):
        await database.write(finish, job)
    assert await database.read(stored_versions.list_versions, head.uid, 99, 9) == []


async def test_job_that_has_ended_stays_as_it_is(database: Database) -> None:
    head = await database.write(new_head)
    job = await database.write(stored_jobs.start_job, head.uid, SPEC, True)
    await database.write(finish, job)
    late = await database.write(
        stored_jobs.finish_without_version, job, JobState.FAILED, "INTERNAL", "late"
    )
    assert (late.state, late.error_message) == (JobState.SUCCEEDED, "")


async def test_failed_job_tells_why(database: Database) -> None:
    head = await database.write(new_head)
    job = await database.write(stored_jobs.start_job, head.uid, SPEC, True)
    await database.write(
        stored_jobs.finish_without_version, job, JobState.FAILED, "INTERNAL", "it broke"
    )
    found = await database.read(stored_jobs.get_job, head.uid, job.id)
    assert (found.state, found.error_code, found.error_message) == (
        JobState.FAILED,
        "INTERNAL",
        "it broke",
    )


async def test_job_of_a_head_that_is_deleted_makes_nothing(database: Database) -> None:
    head = await database.write(new_head)
    job = await database.write(stored_jobs.start_job, head.uid, SPEC, True)
    await database.write(stored.delete_head, "acme", "defects")
    with pytest.raises(NotFound):
        await database.write(finish, job)


async def test_restart_finds_unfinished_jobs_oldest_first(database: Database) -> None:
    jobs = []
    for name in "cab":
        head = await database.write(new_head, name)
        jobs.append(await database.write(stored_jobs.start_job, head.uid, SPEC, True))
    await database.write(finish, jobs[1])
    left = await database.read(stored_jobs.unfinished_jobs)
    assert [job.id for job in left] == [jobs[0].id, jobs[2].id]


async def test_old_jobs_are_forgotten_and_the_latest_kept(database: Database) -> None:
    def many(connection: Connection, uid: str) -> list[JobRecord]:
        made = []
        for _ in range(stored_jobs.KEPT_PER_HEAD + 5):
            job = stored_jobs.start_job(connection, uid, SPEC, True)
            made.append(stored_jobs.finish_without_version(connection, job, JobState.CANCELLED))
        return made

    head = await database.write(new_head)
    made = await database.write(many, head.uid)
    assert await database.read(stored_jobs.get_job, head.uid, made[-1].id) == made[-1]
    with pytest.raises(NotFound):
        await database.read(stored_jobs.get_job, head.uid, made[0].id)
