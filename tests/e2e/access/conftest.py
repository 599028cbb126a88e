"""A server that asks for keys, and whoever asks it."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from service.access.key_in_store import create_operator_key
from service.access.key_text import hash_of, new_text
from service.store import keys as stored_keys
from service.store import open_database
from service.store import tenants as stored_tenants
from service.store.data_directory import FILE
from service.store.usage import HOUR, Used, add_usage
from tests.e2e.access.asking import Asking
from tests.e2e.access.rpcs import ANYBODY
from tests.e2e.conftest import TEXTS
from tests.e2e.processes import Running, serve_command, serving
from trunkline import Client
from trunkline.values.keys import NewKey

TEXTS_BY_LABEL = {"a": ["good", "fine", "nice", "well"], "b": ["bad", "poor", "ugly", "sick"]}
WRITTEN_BY_REFUSALS = {"audit", "usage", "sqlite_sequence"}
"""Tables: refusals are noted, and what was used is stored some seconds later."""
EXPIRED = 1.0
"""Seconds since 1970."""


@dataclass(frozen=True)
class Site:
    """A server, and the keys that were made.

    Two tenants, acme and beta, have a head "shown" with a version, and used something; acme has
    "empty" and "other", too.

    Attributes:
        roles: acme's keys of one role each, by the role.
        full: acme's with all roles.
        narrowed: acme's with all roles that it may have, good for "other*" alone.
        watcher: one for metrics alone.
        bad: what no key is good for, by what is wrong with it.
        key_ids: a key of each tenant, by the tenant.
    """

    running: Running
    asking: Asking
    data_dir: Path
    operator: str
    roles: dict[str, str]
    full: str
    foreign: str
    narrowed: str
    watcher: str
    bad: dict[str, str | None]
    key_ids: dict[str, str]

    def client(self, key: str) -> Client:
        return Client(self.running.grpc, token=key)

    def rows(self) -> dict[str, str]:
        """A digest of each table of the store, but for what refusals themselves write."""
        with closing(sqlite3.connect(f"file:{self.data_dir / FILE}?mode=ro", uri=True)) as store:
            tables = [
                name
                for (name,) in store.execute("select name from sqlite_master where type='table'")
            ]
            return {
                table: _digest(store, table) for table in tables if table not in WRITTEN_BY_REFUSALS
            }


def _digest(store: sqlite3.Connection, table: str) -> str:
    columns = [row[1] for row in store.execute(f'pragma table_info("{table}")')]
    wanted = ", ".join(f'"{name}"' for name in columns if name != "used_at")
    hasher = blake3()
    for row in store.execute(f'select {wanted} from "{table}" order by rowid'):
        hasher.update(repr(row).encode())
    return hasher.hexdigest()


def _trained(client: Client, head: str) -> None:
    client.create_head(head, TEXTS)
    rows = [(text, label) for label, texts in TEXTS_BY_LABEL.items() for text in texts]
    client.upload(head, rows)
    client.train(head)


async def _expired(data_dir: Path, tenant: str | None, role: str) -> str:
    text, database = new_text(), open_database(data_dir)
    try:
        await database.write(
            stored_keys.add_key, hash_of(text), tenant=tenant, roles=[role], expires_at=EXPIRED
        )
    finally:
        database.close()
    return text


async def _used(data_dir: Path, tenants: list[str]) -> None:
    database, hour = open_database(data_dir), int(time.time()) // HOUR * HOUR
    try:
        for tenant in tenants:
            await database.write(stored_tenants.update_quotas, tenant, {})
        await database.write(add_usage, {(tenant, hour): Used(rows=1) for tenant in tenants})
    finally:
        database.close()


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("access")
    data_dir = folder / "data"
    _, operator = create_operator_key(data_dir, "", None)
    expired = asyncio.run(_expired(data_dir, "acme", "own"))
    expired_operator = asyncio.run(_expired(data_dir, None, "operate"))
    asyncio.run(_used(data_dir, ["acme", "beta"]))
    command = serve_command(data_dir, "--auth", "required", "--backbone", TEXTS)
    with serving(command, folder / "log") as running:
        asking = Asking(running.grpc, running.rest)
        with Client(running.grpc, token=operator) as client:
            _trained(client, "acme/shown")
            weights = client.export_head("acme/shown").safetensors
            client.import_head("beta/shown", weights, TEXTS)
            for head in ("acme/empty", "acme/other"):
                client.create_head(head, TEXTS)
            made = _keys(client)
        bad = {
            "none": None,
            "malformed": "tlk_nonsense",
            "unknown": new_text(),
            "expired": expired,
            "expired operator": expired_operator,
            "revoked": made.pop("revoked"),
        }
        yield Site(running, asking, data_dir, operator, bad=bad, **made)
        asking.close()
        assert running.terminate() == 0


def _keys(client: Client) -> dict[str, Any]:
    revoked = client.create_key("acme", list(ANYBODY))
    client.revoke_key(revoked.key.name)
    mine = client.create_key("acme", list(ANYBODY))
    theirs = client.create_key("beta", list(ANYBODY))
    narrowed = client.create_key("acme", list(ANYBODY[:-1]), heads=["other*"])
    return {
        "roles": {role: client.create_key("acme", [role]).text for role in ANYBODY},
        "full": mine.text,
        "foreign": theirs.text,
        "narrowed": narrowed.text,
        "watcher": client.create_key(roles=["metrics"]).text,
        "revoked": revoked.text,
        "key_ids": {"acme": _id(mine), "beta": _id(theirs)},
    }


def _id(made: NewKey) -> str:
    return made.key.name.removeprefix("keys/")
