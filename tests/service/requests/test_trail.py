"""Which calls the audit log gets, and when they are answered."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import Connection

from service.access.audit import Audit
from service.access.caller import ANYONE, Caller, Role
from service.access.rules import Rule
from service.concurrency.tasks import UninterruptedTasks
from service.errors import InvalidRequest, NotFound, PermissionDenied, Unauthenticated, no_head
from service.metrics import Metrics
from service.requests.call import Call
from service.requests.calls import Calls
from service.store import Database
from service.store.audit import AuditRow, list_audit_rows
from trunkline.resources import HeadName
from trunkline.v1 import heads_pb2

CHANGES = Rule(frozenset({Role.TRAIN}), "parent", changes=True)
READS = Rule(frozenset({Role.TRAIN}), "head", changes=False)
ACME = Caller(frozenset({Role.TRAIN}), "acme", key="k")
CREATE = heads_pb2.CreateHeadRequest(parent="tenants/acme", head_id="x")
THEIRS = HeadName("other", "y")


class Trailed:
    """Calls with an audit log."""

    def __init__(self, database: Database, *, wanted: bool = True) -> None:
        self.database, self.metrics, self.tasks = database, Metrics(1), UninterruptedTasks()
        self.calls = Calls(self.metrics, 60)
        self.calls.trail.audit = Audit(
            database, self.tasks, self.metrics, wanted=lambda: wanted, retention_days=1
        )

    async def call(self, error: BaseException | None = None, **how: Any) -> None:
        given: dict[str, Any] = {"rule": CHANGES, "caller": ACME, "peer": "10.0.0.7", **how}
        async with self.calls.handle("CreateHead", "grpc", None, **given) as call:
            call.name(CREATE)
            if error is not None:
                raise error

    async def rows(self) -> list[AuditRow]:
        await self.tasks.close()
        found = await self.database.read(list_audit_rows, tenant=None, limit=9)
        return [stored.row for stored in found]


@pytest.fixture
async def trailed(database: Database) -> AsyncIterator[Trailed]:
    made = Trailed(database)
    yield made
    await made.tasks.close()


async def test_change_is_answered_when_its_row_is_on_the_disk(trailed: Trailed) -> None:
    begun, go_on = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def wait(_: Connection) -> None:
        loop.call_soon_threadsafe(begun.set)
        go_on.wait(60)

    holding = asyncio.create_task(trailed.database.write(wait))
    await begun.wait()
    calling = asyncio.create_task(trailed.call())
    noted, _ = await asyncio.wait([calling], timeout=0.05)
    go_on.set()
    await asyncio.gather(holding, calling)
    assert not noted
    (row,) = await trailed.rows()
    assert (row.key, row.tenant, row.method) == ("k", "acme", "CreateHead")
    assert (row.resource, row.outcome, row.peer) == ("tenants/acme/heads/x", "OK", "10.0.0.7")


@pytest.mark.parametrize(
    ("error", "how", "outcomes"),
    [
        (None, {"rule": READS}, []),
        (InvalidRequest("no"), {}, []),
        (NotFound("no"), {}, []),
        (no_head(THEIRS).as_hidden(), {"rule": READS}, ["NOT_FOUND"]),
        (PermissionDenied("no"), {"rule": READS}, ["PERMISSION_DENIED"]),
        (InvalidRequest("no"), {"upload": True}, ["INVALID_ARGUMENT"]),
        (asyncio.CancelledError(), {}, ["CANCELLED"]),
        (RuntimeError("a fault"), {}, ["INTERNAL"]),
    ],
)
async def test_what_may_have_changed_something_or_was_refused_has_a_row(
    trailed: Trailed, error: BaseException | None, how: dict[str, Any], outcomes: list[str]
) -> None:
    await asyncio.gather(trailed.call(error, **how), return_exceptions=True)
    assert [row.outcome for row in await trailed.rows()] == outcomes


async def test_hidden_head_among_others_has_a_row_of_its_own(trailed: Trailed) -> None:
    async with trailed.calls.handle("Predict", "grpc", None, rule=READS, caller=ACME) as call:
        call.hidden_head = str(THEIRS)
    (row,) = await trailed.rows()
    assert (row.resource, row.outcome, row.tenant) == (str(THEIRS), "NOT_FOUND", "acme")


async def test_change_that_was_told_before_the_end_has_one_row(trailed: Trailed) -> None:
    async def watch() -> None:
        async with trailed.calls.handle(
            "TrainHead", "grpc", None, caller=ANYONE, rule=CHANGES
        ) as call:
            await trailed.calls.trail.acknowledge(call)
            raise asyncio.CancelledError

    await asyncio.gather(watch(), return_exceptions=True)
    assert [row.outcome for row in await trailed.rows()] == ["OK"]


async def test_stranger_is_noted_with_what_its_path_says_and_no_tenant_learns_of_it(
    trailed: Trailed,
) -> None:
    call = Call(
        "GetHead", "rest", "", None, caller=ANYONE, resource="tenants/acme/heads/x", peer="10.0.0.7"
    )
    call.caller = Caller(frozenset())
    request_id = trailed.calls.refused("GET GetHead", Unauthenticated("no"), call)
    (row,) = await trailed.rows()
    assert (row.request_id, row.resource, row.tenant) == (request_id, "tenants/acme/heads/x", "")
    labels = {"method": "GetHead", "transport": "rest", "tenant": "other"}
    counted = trailed.metrics.registry.get_sample_value(
        "trunkline_requests_total", {**labels, "code": "UNAUTHENTICATED"}
    )
    assert counted == 1


async def test_operators_row_is_of_the_tenant_that_it_names(trailed: Trailed) -> None:
    await trailed.call(caller=ANYONE)
    assert [row.tenant for row in await trailed.rows()] == ["acme"]


async def test_nothing_is_noted_where_no_log_is_wanted(database: Database) -> None:
    trailed = Trailed(database, wanted=False)
    await trailed.call()
    assert await trailed.rows() == []
