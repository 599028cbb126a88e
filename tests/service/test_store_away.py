"""A server whose store on PostgreSQL goes away answers as far as it knows, and says the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from service.access.authentication import Keys
from service.access.key_in_store import create_operator_key
from service.access.key_text import hash_of, new_text
from service.access.operator_key import add_operator_key
from service.concurrency.tasks import UninterruptedTasks
from service.errors import Unauthenticated, Unavailable
from service.store import keys as stored_keys
from tests.postgres import PostgresProcess
from tests.service.server import HEAD, InProcessServer, StartServer, best, import_request, texts
from trunkline.v1 import heads_pb2


@pytest.fixture(scope="module")
def own() -> Iterator[PostgresProcess]:
    process = PostgresProcess()
    process.start()
    yield process
    process.remove()


@pytest.fixture
async def server(own: PostgresProcess, start_server: StartServer) -> AsyncIterator[InProcessServer]:
    own.start_again()
    with own.store() as url:
        address = url.render_as_string(hide_password=False)
        async with start_server(store=address, store_connections=4) as server:
            yield server
            own.start_again()


async def test_what_is_in_memory_is_answered_and_the_rest_refused_with_a_hint(
    server: InProcessServer, own: PostgresProcess
) -> None:
    await server.ask("ImportHead", import_request())
    before = best(await server.predict(*texts("known"), head=HEAD))
    await asyncio.to_thread(own.crash)
    assert best(await server.predict(*texts("known"), head=HEAD)) == before
    assert best(await server.predict(*texts("never seen"), head=HEAD))
    for work in (
        server.feedback({"known": "red"}),
        server.create("tenants/acme/heads/second"),
        server.ask("GetHead", heads_pb2.GetHeadRequest(name=HEAD)),
        server.predict(*texts("known"), head="tenants/acme/heads/unknown"),
        server.ask("DeleteHead", heads_pb2.DeleteHeadRequest(name=HEAD)),
    ):
        with pytest.raises(Unavailable, match="the store does not answer") as caught:
            await work
        assert caught.value.retry_after
    assert server.application.readiness.ready
    own.start()  # not in a thread, with whose end it would end
    await server.feedback({"known": before[0]})


async def test_key_that_cannot_be_looked_up_is_not_called_wrong(
    server: InProcessServer, own: PostgresProcess
) -> None:
    known, unknown, wrong = new_text(), new_text(), new_text()
    database = server.application._database
    for text in (known, unknown):
        await database.write(add_operator_key, hash_of(text), "", None)
    tasks = UninterruptedTasks()
    keys = Keys(database, tasks, required=True)

    async def caller(text: str) -> object:
        return await keys.caller([("authorization", f"Bearer {text}")])

    await caller(known)
    await asyncio.to_thread(own.stop)
    await caller(known)
    for text in (unknown, wrong):
        with pytest.raises(Unavailable):
            await caller(text)
    own.start()  # not in a thread, with whose end it would end
    await caller(unknown)
    with pytest.raises(Unauthenticated):
        await caller(wrong)
    await tasks.close()


async def test_operator_who_lost_every_key_makes_one_beside_the_server(
    own: PostgresProcess, start_server: StartServer
) -> None:
    own.start_again()
    with own.store() as url:
        address = url.render_as_string(hide_password=False)
        async with start_server(store=address, store_connections=4) as server:
            database = server.application._database
            assert not server.application.authentication.required
            await asyncio.to_thread(create_operator_key, url, "first", None)
            await database.write(add_operator_key, hash_of(new_text()), "", None)
            assert server.application.authentication.required
            made, text = await asyncio.to_thread(create_operator_key, url, "lost", None)
            found = await database.read(stored_keys.find_key, hash_of(text))
            assert found is not None
            assert (found.id, found.note) == (made.id, "lost")
        again, _ = await asyncio.to_thread(create_operator_key, url, "stopped", None)
        assert again.id != made.id
