"""A server that missed what others changed trusts nothing that it holds."""

from __future__ import annotations

import pytest
from sqlalchemy import Connection, update

from service.access.authentication import Keys
from service.access.caller import Role
from service.access.key_text import hash_of, new_text
from service.access.quotas import QuotaBook
from service.concurrency.tasks import UninterruptedTasks
from service.errors import QuotaExceeded, Unauthenticated
from service.store import Database, schema
from service.store import keys as stored_keys
from service.store.changes import Changed
from service.store.quotas import Quotas
from tests.service.server import InProcessServer, import_request, texts

MISSED = Changed(everything=True)


def activate_unnoted(connection: Connection) -> None:
    connection.execute(update(schema.heads).values(active_version=1))


def revoke_unnoted(connection: Connection) -> None:
    connection.execute(update(schema.access_keys).values(revoked_at=1.0))


async def test_head_answers_by_the_version_that_is_stored(server: InProcessServer) -> None:
    for _ in range(2):
        await server.ask("ImportHead", import_request())
    database = server.application._database

    async def version() -> int:
        (group,) = (await server.predict(*texts("x"))).predictions
        return int(group.version)

    assert await version() == 2
    await database.write(activate_unnoted)
    assert await version() == 2, "nobody has said so"
    database.tell(MISSED)
    assert await version() == 1


async def test_key_that_was_revoked_is_refused(database: Database) -> None:
    tasks, text = UninterruptedTasks(), new_text()
    keys = Keys(database, tasks, required=True)
    shown = [("x-api-key", text)]
    await database.write(
        stored_keys.add_key, hash_of(text), tenant="acme", roles=[Role.PREDICT], note=""
    )
    await keys.caller(shown)
    await database.write(revoke_unnoted)
    await keys.caller(shown)
    database.tell(MISSED)
    with pytest.raises(Unauthenticated):
        await keys.caller(shown)
    await tasks.close()


async def test_quotas_are_those_that_come_with_it(database: Database) -> None:
    book = QuotaBook(database, Quotas(cost_per_second=1.0), clock=lambda: 0.0)
    database.tell(Changed(quotas={"gone": Quotas(cost_per_second=0.0)}))
    assert book.rate_limit("gone") is None
    database.tell(Changed(everything=True, quotas={"acme": Quotas(cost_burst=2.0)}))
    assert book.rate_limit("gone") is not None
    book.take("acme", 2.0, str)
    with pytest.raises(QuotaExceeded):
        book.take("acme", 2.0, str)
