"""Keys are made, rotated and revoked by those who may, and nobody makes one that may do more."""

from __future__ import annotations

import time
from typing import Any

import pytest
from sqlalchemy import Connection, update

from service.access.caller import ANYONE, Caller, Role
from service.errors import (
    InvalidRequest,
    NotFound,
    PermissionDenied,
    PreconditionFailed,
    Unauthenticated,
)
from service.requests.call import Call
from service.store import keys as stored_keys
from service.store import schema
from service.store import tenants as stored_tenants
from tests.service.server import InProcessServer
from trunkline.v1 import access_pb2, keys_pb2

OPERATOR = Caller(frozenset({Role.OPERATE}), key="o")
OWNER = Caller(frozenset({Role.OWN}), "acme", key="k")
PREDICT = [access_pb2.ROLE_PREDICT]
DAY = 86_400


async def ask(server: InProcessServer, request: Any, caller: Caller = OPERATOR, **how: Any) -> Any:
    method = type(request).__name__.removesuffix("Request")
    call = Call(method, "grpc", "", None, caller=caller, **{"local": True} | how)
    return await server.application.handlers[method](request, call)


async def make(server: InProcessServer, caller: Caller = OPERATOR, **values: Any) -> Any:
    return await ask(server, keys_pb2.CreateKeyRequest(**values), caller)


@pytest.fixture
async def keyed(server: InProcessServer) -> InProcessServer:
    """A server with the keys of `OPERATOR` and `OWNER`."""
    await make(server, ANYONE)
    await server.application._database.write(_store, OPERATOR, OWNER)
    return server


def _store(connection: Connection, *callers: Caller) -> None:
    """Stores keys whose ids are known, and whose texts are not."""
    ids = schema.access_keys.c.id
    for caller in callers:
        key_hash, roles = caller.key.encode(), list(caller.roles)
        made = stored_keys.add_key(connection, key_hash, tenant=caller.tenant, roles=roles)
        connection.execute(update(schema.access_keys).where(ids == made.id).values(id=caller.key))


async def test_first_key_must_be_an_operators(server: InProcessServer) -> None:
    with pytest.raises(PreconditionFailed) as refused:
        await make(server, ANYONE, tenant="tenants/acme", roles=PREDICT)
    assert refused.value.field == "tenant"
    with pytest.raises(PreconditionFailed) as refused:
        await make(server, ANYONE, roles=[access_pb2.ROLE_METRICS])
    assert (refused.value.field, refused.value.value) == ("roles", "metrics")
    made = (await make(server, ANYONE)).key
    assert list(made.roles) == [access_pb2.ROLE_OPERATE]
    operator = Caller(frozenset({Role.OPERATE}), key=made.name.removeprefix("keys/"))
    await make(server, operator, tenant="tenants/acme", roles=PREDICT)


async def test_without_keys_none_is_made_from_another_machine(server: InProcessServer) -> None:
    with pytest.raises(PermissionDenied):
        await ask(server, keys_pb2.CreateKeyRequest(), ANYONE, local=False)
    await ask(server, keys_pb2.CreateKeyRequest(), ANYONE, local=True)


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("roles", {"tenant": "tenants/acme"}),
        ("roles", {"tenant": "tenants/acme", "roles": [access_pb2.ROLE_OPERATE]}),
        ("roles", {"tenant": "tenants/acme", "roles": [99]}),
        ("roles", {"tenant": "tenants/acme", "roles": [access_pb2.ROLE_UNSPECIFIED]}),
        ("roles", {"roles": PREDICT}),
        ("roles", {"roles": [access_pb2.ROLE_OPERATE, access_pb2.ROLE_METRICS]}),
        ("roles", {"tenant": "tenants/acme", "roles": [access_pb2.ROLE_METRICS]}),
        ("heads", {"heads": ["x"]}),
        ("heads", {"tenant": "tenants/acme", "roles": [access_pb2.ROLE_OWN], "heads": ["x"]}),
        ("heads", {"tenant": "tenants/acme", "roles": PREDICT, "heads": ["a*b"]}),
        ("heads", {"tenant": "tenants/acme", "roles": PREDICT, "heads": ["**"]}),
        ("heads", {"tenant": "tenants/acme", "roles": PREDICT, "heads": ["a,b"]}),
        ("heads", {"tenant": "tenants/acme", "roles": PREDICT, "heads": [""]}),
        ("heads", {"tenant": "tenants/acme", "roles": PREDICT, "heads": ["a"] * 101}),
        ("note", {"note": "ä" * 129}),
        ("note", {"note": "two\nlines"}),
        ("lifetime_seconds", {"lifetime_seconds": 0.0}),
        ("lifetime_seconds", {"lifetime_seconds": float("nan")}),
        ("lifetime_seconds", {"lifetime_seconds": 1e12}),
    ],
)
async def test_key_that_makes_no_sense_is_refused_by_field(
    keyed: InProcessServer, field: str, values: dict[str, Any]
) -> None:
    before = await ask(keyed, keys_pb2.ListKeysRequest())
    with pytest.raises(InvalidRequest) as refused:
        await make(keyed, **values)
    assert (refused.value.field, refused.value.limit is not None) == (field, True)
    assert await ask(keyed, keys_pb2.ListKeysRequest()) == before


async def test_owner_makes_and_sees_keys_of_its_tenant_alone(keyed: InProcessServer) -> None:
    foreign = (await make(keyed, tenant="tenants/beta", roles=PREDICT)).key
    own = (await make(keyed, OWNER, roles=PREDICT, heads=["x*", "x*"])).key
    assert (own.tenant, list(own.heads)) == ("tenants/acme", ["x*"])
    listed = await ask(keyed, keys_pb2.ListKeysRequest(), OWNER)
    assert [key.name for key in listed.keys] == [f"keys/{OWNER.key}", own.name]
    missing = f"keys/{'0' * 32}"
    for kind in (keys_pb2.GetKeyRequest, keys_pb2.RotateKeyRequest, keys_pb2.RevokeKeyRequest):
        said = []
        for name in (foreign.name, missing):
            with pytest.raises(NotFound) as refused:
                await ask(keyed, kind(name=name), OWNER)
            said.append(refused.value.message.replace(name, "NAME"))
        assert said[0] == said[1]
    assert (await ask(keyed, keys_pb2.GetKeyRequest(name=foreign.name))).key == foreign


async def test_key_that_expires_makes_and_rotates_none_that_outlives_it(
    keyed: InProcessServer,
) -> None:
    short = Caller(frozenset({Role.OWN}), "acme", key="k", expires_at=time.time() + DAY)
    lasting = (await make(keyed, OWNER, roles=PREDICT)).key
    for values in ({}, {"lifetime_seconds": 2.0 * DAY}):
        with pytest.raises(InvalidRequest) as refused:
            await make(keyed, short, roles=PREDICT, **values)
        assert refused.value.field == "lifetime_seconds"
    made = (await make(keyed, short, roles=PREDICT, lifetime_seconds=60.0)).key
    with pytest.raises(PermissionDenied):
        await ask(keyed, keys_pb2.RotateKeyRequest(name=lasting.name), short)
    rotated = await ask(keyed, keys_pb2.RotateKeyRequest(name=made.name), short)
    assert rotated.key.expire_time == made.expire_time


async def test_rotated_key_expires_and_its_successor_may_do_the_same(
    keyed: InProcessServer,
) -> None:
    old = (await make(keyed, OWNER, roles=PREDICT, heads=["x"], note="line 1")).key
    reply = await ask(keyed, keys_pb2.RotateKeyRequest(name=old.name, overlap_seconds=60.0), OWNER)
    assert (reply.key.roles, reply.key.heads, reply.key.note) == (old.roles, old.heads, old.note)
    assert not reply.key.HasField("expire_time")
    left = reply.rotated.expire_time.seconds - old.create_time.seconds
    assert 55 < left < 120
    await ask(keyed, keys_pb2.RevokeKeyRequest(name=old.name), OWNER)
    with pytest.raises(PreconditionFailed):
        await ask(keyed, keys_pb2.RotateKeyRequest(name=old.name), OWNER)


async def test_text_of_a_key_is_nowhere_in_the_store(keyed: InProcessServer) -> None:
    made = await make(keyed, OWNER, roles=PREDICT)
    folder = keyed.application._data_dir
    for path in folder.glob("trunkline.db*"):
        assert made.text.encode() not in path.read_bytes()
        assert made.text[4:].encode() not in path.read_bytes()


async def test_pages_of_keys_hold_each_once(keyed: InProcessServer) -> None:
    for _ in range(4):
        await make(keyed, OWNER, roles=PREDICT)
    names: list[str] = []
    token = ""
    while True:
        page = await ask(keyed, keys_pb2.ListKeysRequest(page_size=2, page_token=token))
        names += [key.name for key in page.keys]
        token = page.next_page_token
        if not token:
            break
    assert len(names) == len(set(names)) == 7


async def test_caller_learns_whose_key_it_shows(server: InProcessServer) -> None:
    assert not (await ask(server, keys_pb2.WhoAmIRequest(), ANYONE)).keys_required
    made = (await make(server, ANYONE)).key
    me = await ask(server, keys_pb2.WhoAmIRequest(), Caller(frozenset(), key=made.name[5:]))
    assert (me.key, me.keys_required) == (made, True)


@pytest.mark.parametrize("how", ["revoked", "of a deleted tenant"])
async def test_key_out_of_use_makes_no_other_although_the_call_began_before(
    keyed: InProcessServer, how: str
) -> None:
    """Else whoever is shut out could go on asking until one of their writes comes next."""
    other = (await make(keyed, OWNER, roles=PREDICT)).key
    database = keyed.application._database
    if how == "revoked":
        await database.write(stored_keys.revoke_key, OWNER.key)
    else:
        await database.write(stored_tenants.delete_tenant, "acme")
    before = await database.read(stored_keys.list_keys, None, 0, 100)
    for request in (
        keys_pb2.CreateKeyRequest(roles=PREDICT),
        keys_pb2.RotateKeyRequest(name=other.name),
    ):
        with pytest.raises(Unauthenticated):
            await ask(keyed, request, OWNER)
    assert await database.read(stored_keys.list_keys, None, 0, 100) == before


async def test_who_asked_without_a_key_makes_none_beside_the_first(keyed: InProcessServer) -> None:
    with pytest.raises(Unauthenticated):
        await make(keyed, ANYONE)
