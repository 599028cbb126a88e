"""The audit log is listed to those whom it concerns, newest first."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import Connection, update

from service.access.caller import ANYONE, Caller, Role
from service.errors import InvalidRequest
from service.requests.call import Call
from service.store import schema
from service.store.audit import AuditRow, add_audit_rows
from tests.service.server import InProcessServer
from trunkline.resources import InvalidName
from trunkline.v1 import admin_pb2

OWNER = Caller(frozenset({Role.OWN}), "acme", key="k")
NOW = time.time() + 3600  # after the tenants are made
ROW = AuditRow(NOW, "k", "acme", "DeleteHead", "tenants/acme/heads/x", "OK", "r", "grpc", "::1")


async def ask(server: InProcessServer, caller: Caller = ANYONE, **values: Any) -> Any:
    call = Call("ListAudit", "grpc", "", None, caller=caller)
    request = admin_pb2.ListAuditRequest(**values)
    return await server.application.handlers["ListAudit"](request, call)


@pytest.fixture
async def audited(server: InProcessServer) -> InProcessServer:
    """A server with five rows, two of another tenant."""
    await server.create()
    rows = [replace(ROW, at=NOW + number, request_id=f"{number}") for number in range(5)]
    rows[1] = replace(rows[1], tenant="other", key="o")
    rows[3] = replace(rows[3], tenant="other", key="o", method="CreateHead")
    await server.application._database.write(add_audit_rows, rows)
    return server


def ids(reply: Any) -> list[str]:
    return [entry.request_id for entry in reply.entries]


async def test_rows_come_newest_first_by_page(audited: InProcessServer) -> None:
    first = await ask(audited, page_size=3)
    assert ids(first) == ["4", "3", "2"]
    assert ids(await ask(audited, page_size=3, page_token=first.next_page_token)) == ["1", "0"]
    assert first.entries[0].key == "keys/k"
    assert first.entries[0].tenant == "tenants/acme"


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"tenant": "tenants/other"}, ["3", "1"]),
        ({"key": "keys/k"}, ["4", "2", "0"]),
        ({"method": "CreateHead"}, ["3"]),
        ({"since": NOW + 3}, ["4", "3"]),
        ({"until": NOW + 1}, ["0"]),
        ({"since": NOW + 1, "until": NOW + 3, "tenant": "tenants/acme"}, ["2"]),
    ],
)
async def test_rows_can_be_narrowed(
    audited: InProcessServer, values: dict[str, Any], found: list[str]
) -> None:
    assert ids(await ask(audited, **values)) == found


async def test_owner_sees_the_tenants_rows_alone(audited: InProcessServer) -> None:
    assert ids(await ask(audited, OWNER)) == ["4", "2", "0"]
    assert ids(await ask(audited, OWNER, key="keys/o")) == []


async def test_tenant_sees_nothing_of_an_earlier_one_of_its_name(audited: InProcessServer) -> None:
    def make_later(connection: Connection) -> None:
        connection.execute(update(schema.tenants).values(created_at=NOW + 2.5))

    await audited.application._database.write(make_later)
    assert ids(await ask(audited, OWNER)) == ["4"]
    assert len(ids(await ask(audited))) == 5


@pytest.mark.parametrize("field", ["since", "until"])
@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
async def test_what_is_no_time_is_refused(
    server: InProcessServer, field: str, value: float
) -> None:
    values: dict[str, Any] = {field: value}
    with pytest.raises(InvalidRequest) as refused:
        await ask(server, **values)
    assert refused.value.field == field


async def test_what_is_no_name_is_refused(server: InProcessServer) -> None:
    wrong: list[dict[str, Any]] = [{"tenant": "acme"}, {"key": "k"}]
    for values in wrong:
        with pytest.raises(InvalidName):
            await ask(server, **values)
