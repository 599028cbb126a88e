"""Keys in the store, and what a server holds of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from service.access import authentication
from service.access.authentication import Keys, NoKeys, SharedKey
from service.access.caller import ANYONE, Caller, Role
from service.access.key_text import hash_of, new_text
from service.concurrency.tasks import UninterruptedTasks
from service.errors import StoreFailed, Unauthenticated, Unavailable, problem_of
from service.store import Database
from service.store import keys as stored_keys
from service.store import tenants as stored_tenants
from service.store.changes import Changed
from service.store.keys import KeyRecord

HOUR = 3600


class Site:
    """Keys in a store, and a clock that the test turns."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.tasks = UninterruptedTasks()
        self.now = 1e9 + 10.0
        self.keys = Keys(database, self.tasks, required=True, clock=lambda: self.now)

    async def add(self, **values: object) -> tuple[str, KeyRecord]:
        text = new_text()
        given = {"tenant": "acme", "roles": [Role.PREDICT]} | values
        record = await self.database.write(stored_keys.add_key, hash_of(text), **given)  # type: ignore[arg-type]
        return text, record

    async def ask(self, text: str, before: Caller | None = None) -> Caller:
        return await self.keys.caller([("authorization", f"Bearer {text}")], before)

    async def stored(self, key_id: str) -> KeyRecord:
        await self.tasks.close()
        return await self.database.read(stored_keys.get_key, key_id)


@pytest.fixture
async def site(database: Database) -> AsyncIterator[Site]:
    made = Site(database)
    yield made
    await made.tasks.close()


async def test_key_says_whose_it_is_and_what_for(site: Site) -> None:
    text, record = await site.add(heads=["x*"], roles=[Role.PREDICT, Role.LABEL])
    roles = frozenset({Role.PREDICT, Role.LABEL})
    assert await site.ask(text) == Caller(roles, "acme", ("x*",), record.id)


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("authorization", "")],
        [("authorization", "Bearer ")],
        [("authorization", "Bearer nonsense")],
        [("authorization", f"Basic {new_text()}")],
        [("authorization", new_text())],
        [("authorization", f"Bearer {new_text()}")],
        [("x-api-key", new_text())],
        [("x-api-key", "\udcff")],
        [("cookie", new_text())],
    ],
)
async def test_whatever_is_wrong_with_a_key_the_answer_is_the_same(
    site: Site, headers: list[tuple[str, str]]
) -> None:
    await site.add()
    with pytest.raises(Unauthenticated) as refused:
        await site.keys.caller(headers)
    assert problem_of(refused.value) == problem_of(authentication.unauthenticated())


async def test_key_is_taken_from_either_header_and_from_both_if_it_is_the_same(site: Site) -> None:
    text, _ = await site.add()
    other, _ = await site.add()
    both = [("authorization", f"bearer {text}"), ("x-api-key", text)]
    for headers in ([both[0]], [both[1]], both):
        assert (await site.keys.caller(headers)).tenant == "acme"
    with pytest.raises(Unauthenticated):
        await site.keys.caller([both[0], ("x-api-key", other)])


async def test_key_of_a_deleted_tenant_is_refused_from_the_commit_on(site: Site) -> None:
    text, _ = await site.add()
    other, _ = await site.add(tenant="other")
    await site.ask(text)
    await site.database.write(stored_tenants.delete_tenant, "acme")
    with pytest.raises(Unauthenticated):
        await site.ask(text)
    assert (await site.ask(other)).tenant == "other"


async def test_revoked_key_is_refused_from_the_commit_on(site: Site) -> None:
    text, record = await site.add()
    caller = await site.ask(text)
    assert await site.ask(text, before=caller) is caller
    await site.database.write(stored_keys.revoke_key, record.id)
    for before in (None, caller):
        with pytest.raises(Unauthenticated):
            await site.ask(text, before)


async def test_who_was_one_before_is_looked_up_where_that_is_not_known_any_more(site: Site) -> None:
    text, _ = await site.add()
    caller = await site.ask(text)
    another = replace(caller, key="another")
    assert await site.ask(text, before=another) is caller
    assert await site.ask(text, before=ANYONE) is caller


async def test_key_that_is_looked_up_while_keys_change_is_taken_and_not_kept(site: Site) -> None:
    text, _ = await site.add()
    asking = asyncio.create_task(site.ask(text))
    await asyncio.sleep(0)  # the look-up is under way
    site.keys._forget_changed(Changed(keys={"another"}))
    assert (await asking).tenant == "acme"
    assert not site.keys._known


async def test_key_is_refused_once_it_has_expired(site: Site) -> None:
    text, _ = await site.add(expires_at=site.now + 60)
    caller = await site.ask(text)
    site.now += 60
    for before in (None, caller):
        with pytest.raises(Unauthenticated):
            await site.ask(text, before)


async def test_old_key_is_good_until_the_end_of_its_overlap(site: Site) -> None:
    old, record = await site.add()
    new = new_text()
    await site.database.write(stored_keys.rotate_key, record.id, hash_of(new), site.now + 60)
    assert (await site.ask(old)).tenant == (await site.ask(new)).tenant == "acme"
    site.now += 60
    with pytest.raises(Unauthenticated):
        await site.ask(old)
    await site.ask(new)


async def test_known_keys_are_good_while_the_store_is_away_and_others_are_not_judged(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, _ = await site.add()
    other, _ = await site.add()
    await site.ask(known)

    async def away(*_: object) -> None:
        raise StoreFailed("the store could not be read")

    monkeypatch.setattr(site.database, "read", away)
    assert (await site.ask(known)).tenant == "acme"
    with pytest.raises(Unavailable) as refused:
        await site.ask(other)
    assert refused.value.retry_after


async def test_only_so_many_keys_are_held(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication, "MAX_KNOWN", 2)
    texts = [(await site.add())[0] for _ in range(4)]
    for text in texts:
        await site.ask(text)
    assert len(site.keys._known) == 2
    assert (await site.ask(texts[0])).tenant == "acme"


async def test_use_is_noted_once_an_hour(site: Site) -> None:
    text, record = await site.add()
    assert record.used_at is None
    await site.ask(text)
    hour = site.now - site.now % HOUR
    assert (await site.stored(record.id)).used_at == hour
    await site.database.write(stored_keys.note_use, record.id, hour + 9 * HOUR)
    site.now += 30
    await site.ask(text)
    assert (await site.stored(record.id)).used_at == hour + 9 * HOUR  # nothing was written
    site.now += 10 * HOUR
    await site.ask(text)
    assert (await site.stored(record.id)).used_at == hour + 10 * HOUR


async def test_first_key_makes_calls_need_one(database: Database) -> None:
    keys = Keys(database, UninterruptedTasks(), required=False)
    await keys.start()
    assert await keys.caller([]) is ANYONE
    await database.write(stored_keys.add_key, b"h" * 32, tenant=None, roles=[Role.OPERATE])
    with pytest.raises(Unauthenticated):
        await keys.caller([])


async def test_revoking_the_last_key_opens_nothing_at_the_next_start(database: Database) -> None:
    record = await database.write(stored_keys.add_key, b"h" * 32, tenant=None, roles=[Role.OPERATE])
    await database.write(stored_keys.revoke_key, record.id)
    keys = Keys(database, UninterruptedTasks(), required=False)
    await keys.start()
    assert keys.required


async def test_shared_key_lets_its_bearer_do_everything_and_nobody_else_anything() -> None:
    shared = SharedKey("a long enough secret")
    headers = [("authorization", "Bearer a long enough secret")]
    assert (await shared.caller(headers)).operates
    for wrong in ([], [("authorization", "Bearer a long enough secreT")]):
        with pytest.raises(Unauthenticated):
            await shared.caller(wrong)
    assert await NoKeys().caller([]) is ANYONE
