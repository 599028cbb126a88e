"""Tenants store no more than they may, and one that is deleted leaves nothing behind."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import func, select

from service.access.caller import ANYONE, Caller, Role
from service.errors import InvalidRequest, NotFound, StorageQuotaExceeded
from service.requests.call import Call
from service.store import schema
from service.store.usage import Used, add_usage, list_usage
from tests.service.server import HEAD, LABELS, InProcessServer, StartServer, import_request, texts
from trunkline.v1 import access_pb2, heads_pb2, keys_pb2, tenants_pb2

OPERATOR = Caller(frozenset({Role.OPERATE}), key="o")
ACME = "tenants/acme"
OTHER_HEAD = "tenants/other/heads/defects"


async def ask(server: InProcessServer, request: Any, caller: Caller = OPERATOR) -> Any:
    method = type(request).__name__.removesuffix("Request")
    call = Call(method, "grpc", "", None, caller=caller, local=True)
    return await server.application.handlers[method](request, call)


async def update(server: InProcessServer, *defaults: str, **quotas: Any) -> tenants_pb2.Tenant:
    request = tenants_pb2.UpdateTenantRequest(
        name=ACME, quotas=tenants_pb2.Quotas(**quotas), defaults=defaults
    )
    tenant: tenants_pb2.Tenant = (await ask(server, request)).tenant
    return tenant


async def tenant(server: InProcessServer, name: str = ACME) -> tenants_pb2.Tenant:
    found: tenants_pb2.Tenant = (await ask(server, tenants_pb2.GetTenantRequest(name=name))).tenant
    return found


async def test_own_quota_takes_the_place_of_the_servers_until_it_is_the_default_again(
    start_server: StartServer,
) -> None:
    async with start_server(tenant_examples=7) as server:
        changed = await update(server, cost_per_second=2.5, examples=0)
        assert (changed.quotas.cost_per_second, changed.quotas.examples) == (2.5, 0)
        assert not changed.own_quotas.HasField("stored_bytes")
        changed = await update(server, "examples", stored_bytes=10)
        assert (changed.quotas.examples, changed.quotas.stored_bytes) == (7, 10)
        assert changed.quotas.cost_per_second == 2.5
        assert await tenant(server) == changed


@pytest.mark.parametrize(
    ("field", "quotas"),
    [
        ("quotas.cost_per_second", {"cost_per_second": -1.0}),
        ("quotas.cost_per_second", {"cost_per_second": float("nan")}),
        ("quotas.cost_per_second", {"cost_per_second": 1e-9}),
        ("quotas.cost_burst", {"cost_burst": float("inf")}),
        ("quotas.stored_bytes", {"stored_bytes": 2**63}),
    ],
)
async def test_quota_that_makes_no_sense_is_refused(
    server: InProcessServer, field: str, quotas: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await update(server, **quotas)
    assert refused.value.field == field
    with pytest.raises(NotFound):
        await tenant(server)


@pytest.mark.parametrize("name", ["examples", "name", "1; DROP TABLE tenants"])
async def test_default_is_of_a_quota_that_is_not_set_as_well(
    server: InProcessServer, name: str
) -> None:
    with pytest.raises(InvalidRequest) as refused:
        await update(server, name, examples=1)
    assert refused.value.field == "defaults"


async def test_examples_beyond_the_quota_are_refused_and_nothing_of_them_is_stored(
    server: InProcessServer,
) -> None:
    await server.create()
    await update(server, examples=len(LABELS))
    assert (await server.add(LABELS)).added == len(LABELS)
    before = await tenant(server)
    with pytest.raises(StorageQuotaExceeded, match="at most 4") as refused:
        await server.add({"one more": "red"})
    assert (refused.value.field, refused.value.limit) == ("examples", len(LABELS))
    with pytest.raises(StorageQuotaExceeded):
        await server.feedback({"and one by feedback": "red"})
    assert await tenant(server) == before
    await update(server, examples=1)
    assert (await server.add({"red one": "blue"})).updated == 1  # nothing grows


async def test_bytes_beyond_the_quota_are_refused_for_that_tenant_alone(
    server: InProcessServer,
) -> None:
    await server.create(keep_inputs=True)
    await server.create(OTHER_HEAD)
    await update(server, stored_bytes=1)
    with pytest.raises(StorageQuotaExceeded) as refused:
        await server.add(LABELS)
    assert refused.value.subject == ACME
    assert (await tenant(server)).stored_bytes == 0
    await server.add(LABELS, OTHER_HEAD)
    await update(server, stored_bytes=0)
    await server.add(LABELS)
    await update(server, stored_bytes=(await tenant(server)).stored_bytes)
    failed = await server.train()
    assert failed.error_code == "RESOURCE_EXHAUSTED"


async def test_what_is_stored_is_counted_as_it_comes_and_goes(server: InProcessServer) -> None:
    await server.create(keep_inputs=True)
    await server.add(LABELS)
    await server.train()
    digests = (await server.predict(*texts(*LABELS))).digests
    grown = await tenant(server)
    assert (grown.heads, grown.examples) == (1, len(LABELS))
    await server.delete(*digests[:2])
    shrunk = await tenant(server)
    assert shrunk.examples == 2
    assert 0 < shrunk.stored_bytes < grown.stored_bytes
    await server.ask("DeleteHead", heads_pb2.DeleteHeadRequest(name=HEAD))
    emptied = await tenant(server)
    assert (emptied.heads, emptied.examples, emptied.stored_bytes) == (0, 0, 0)


async def test_deleted_tenant_leaves_nothing_behind_and_the_reply_says_what_went(
    server: InProcessServer,
) -> None:
    first = (await ask(server, keys_pb2.CreateKeyRequest(), ANYONE)).key.name
    operator = Caller(frozenset({Role.OPERATE}), key=first.removeprefix("keys/"))
    key = keys_pb2.CreateKeyRequest(tenant=ACME, roles=[access_pb2.ROLE_TRAIN])
    await ask(server, key, operator)
    for head in (HEAD, OTHER_HEAD):
        await server.create(head, keep_inputs=True)
        await server.add(LABELS, head)
        await server.train(head)
        await server.feedback({"fed back": "red"}, head)
        await server.predict(*texts("never stored"), head=head)
    database = server.application._database
    await database.write(add_usage, {("acme", 0): Used(1)})
    before = await tenant(server)
    gone = await ask(server, tenants_pb2.DeleteTenantRequest(name=ACME))
    assert gone.tenant == before
    assert (gone.tenant.heads, gone.tenant.keys, gone.tenant.examples) == (1, 1, 5)
    assert (gone.versions, gone.feedback, gone.trainings, gone.usage_hours) == (1, 1, 1, 1)
    assert gone.embeddings == 5
    for request in (
        tenants_pb2.GetTenantRequest(name=ACME),
        tenants_pb2.DeleteTenantRequest(name=ACME),
    ):
        with pytest.raises(NotFound):
            await ask(server, request)
    with pytest.raises(NotFound):
        await server.predict(*texts("red one"))
    assert await database.read(counts_of_one_tenant)
    server.backbone.batches.clear()
    await server.predict(*texts("never stored"), head=OTHER_HEAD)
    assert not server.backbone.batches
    await server.create()
    assert (await tenant(server)).stored_bytes == 0
    await server.add(LABELS)
    await server.train()
    await server.predict(*texts("never stored"))
    assert ["never stored"] in server.backbone.batches


def counts_of_one_tenant(connection: Any) -> bool:
    """Whether the other tenant's rows are all that are left."""
    tables = (schema.heads, schema.versions, schema.jobs, schema.feedback)
    rows = [connection.scalar(select(func.count()).select_from(table)) for table in tables]
    return rows == [1, 1, 1, 1] and not connection.scalar(
        select(func.count()).select_from(schema.usage)
    )


async def test_tenants_are_listed_by_page(server: InProcessServer) -> None:
    for name in ("b", "a", "c"):
        await server.create(f"tenants/{name}/heads/defects")
    first = await ask(server, tenants_pb2.ListTenantsRequest(page_size=2))
    rest = await ask(server, tenants_pb2.ListTenantsRequest(page_token=first.next_page_token))
    names = [found.name for page in (first, rest) for found in page.tenants]
    assert names == ["tenants/a", "tenants/b", "tenants/c"]


async def test_usage_is_added_by_hour_and_old_hours_go(server: InProcessServer) -> None:
    database = server.application._database
    await server.create()
    for hour in (0, 3600, 3600):
        more = {("acme", hour): Used(1, 2, 0.5, 0.25, 10), ("nobody", hour): Used(1)}
        await database.write(add_usage, more)
    found = await database.read(list_usage, None, 0, 2**40, 0, 10)
    assert [(one.tenant, one.hour, one.used.rows) for one in found] == [
        ("acme", 0, 1),
        ("acme", 3600, 2),
    ]
    assert found[1].used == Used(2, 4, 1.0, 0.5, 20)
    own = Caller(frozenset({Role.OWN}), "acme", key="k")
    request = tenants_pb2.GetUsageRequest(tenant="tenants/-")
    request.start_time.FromSeconds(1)
    assert [row.rows for row in (await ask(server, request, own)).usage] == [2]
    stranger = Caller(frozenset({Role.OWN}), "other", key="k")
    assert not (await ask(server, request, stranger)).usage
    await database.write(add_usage, {}, 3600)
    assert len(await database.read(list_usage, "acme", 0, 2**40, 0, 10)) == 1


@pytest.mark.parametrize("imported", [False, True])
async def test_call_of_a_deleted_tenant_that_began_before_makes_it_no_head(
    server: InProcessServer, imported: bool
) -> None:
    """Else an owner who goes on asking meanwhile would have the tenant back."""
    await server.create()
    await ask(server, tenants_pb2.DeleteTenantRequest(name=ACME))
    request = heads_pb2.CreateHeadRequest(
        parent=ACME, head_id="defects", backbone=server.backbone.name
    )
    trainer = Caller(frozenset({Role.TRAIN}), "acme", key="k")
    with pytest.raises(NotFound, match="there is no tenants/acme"):
        await ask(server, import_request() if imported else request, trainer)
    with pytest.raises(NotFound):
        await tenant(server)
