"""What leaves the store leaves the cache of embeddings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

from service.errors import NotFound
from service.requests.inputs import Kind, RawInput
from service.store import Database
from service.store import examples as stored_examples
from service.store.kept_inputs import find_kinds
from service.store.view_digests import view_digest
from tests.service.embedding.resolvers import cache_of, key, made, vectors_of
from tests.service.hand_extractor import HandExtractor
from tests.service.store.records import add_examples, example, new_head
from tests.service.tiny_backbone import FINGERPRINT, digest_input, info, text_input, vector_of
from trunkline.digest import text_digest


async def test_purged_embedding_is_computed_anew_and_others_stay() -> None:
    extractor = HandExtractor()
    embeddings = made(extractor)
    await embeddings.resolve("acme", info(), [text_input("x"), text_input("y")])
    await embeddings.resolve("bolt", info(), [text_input("x")])
    digests = [text_digest("x"), text_digest("y")]
    assert embeddings.cached("acme", FINGERPRINT, digests) == set(digests)
    embeddings.purge("acme", {text_digest("x"): set(), "0" * 64: set()})
    assert embeddings.cached("acme", FINGERPRINT, digests) == {text_digest("y")}
    assert embeddings.cached("bolt", FINGERPRINT, digests) == {text_digest("x")}
    (gone,) = await embeddings.resolve("acme", info(), [digest_input(text_digest("x"))])
    assert isinstance(gone, NotFound)
    assert vectors_of(await embeddings.resolve("acme", info(), [text_input("x")]))
    assert extractor.asked == [["x", "y"], ["x"], ["x"]]


async def test_purge_leaves_other_tenants_and_needed_fingerprints_alone() -> None:
    embeddings = made(HandExtractor())
    other = info(fingerprint="0" * 64)
    for tenant in ("acme", "bolt"):
        for backbone in (info(), other):
            await embeddings.resolve(tenant, backbone, [text_input("x"), text_input("y")])
    digests = [text_digest("x"), text_digest("y")]
    embeddings.purge("acme", {text_digest("x"): {FINGERPRINT}})
    assert embeddings.cached("acme", FINGERPRINT, digests) == set(digests)
    assert embeddings.cached("acme", "0" * 64, digests) == {text_digest("y")}
    embeddings.purge("acme", {text_digest("x"): set()})
    for fingerprint in (FINGERPRINT, "0" * 64):
        assert embeddings.cached("acme", fingerprint, digests) == {text_digest("y")}
        assert embeddings.cached("bolt", fingerprint, digests) == set(digests)


async def test_purge_of_a_tail_takes_all_that_it_gave_and_views_of_an_input() -> None:
    embeddings = made(HandExtractor())
    tail = info(fingerprint="0" * 64)
    for backbone in (info(), tail):
        await embeddings.resolve("acme", backbone, [text_input("x"), view_input("x", 0)])
    digests = [text_digest("x"), view_digest(text_digest("x"), 0)]
    embeddings.purge("acme", {}, tails=["0" * 64])
    assert embeddings.cached("acme", "0" * 64, digests) == set()
    assert embeddings.cached("acme", FINGERPRINT, digests) == set(digests)
    embeddings.purge("acme", {text_digest("x"): set()})
    assert embeddings.cached("acme", FINGERPRINT, digests) == set()


def view_input(text: str, index: int) -> RawInput:
    return RawInput(Kind.TEXT, view_digest(text_digest(text), index), text)


def test_bytes_of_a_discarded_entry_are_free_again() -> None:
    cache = cache_of(1)
    cache.put(key("a"), vector_of("a"), Kind.TEXT)
    cache.discard(key("a"))
    cache.discard(key("a"))
    assert (len(cache), cache.nbytes) == (0, 0)
    cache.put(key("b"), vector_of("b"), Kind.TEXT)
    assert key("b") in cache


async def test_embedding_in_flight_is_given_to_who_waits_and_not_kept_after_a_purge() -> None:
    extractor = HandExtractor()
    embeddings = made(extractor)
    extractor.go.clear()
    waiting = asyncio.create_task(embeddings.resolve("acme", info(), [text_input("x")]))
    await extractor.changes.until(lambda: extractor.asked == [["x"]])
    embeddings.purge("acme", {text_digest("x"): set()})
    extractor.go.set()
    assert vectors_of(await waiting) == [vector_of("x").tolist()]
    assert embeddings.cached("acme", FINGERPRINT, [text_digest("x")]) == set()


async def test_embedding_that_was_read_before_its_deletion_is_not_kept(
    database: Database,
) -> None:
    head = await database.write(new_head)
    await database.write(add_examples, head.uid, example("x"))
    read, purged = asyncio.Event(), asyncio.Event()

    class Slow:
        """The database, whose last read of an embedding ends only after the purge."""

        follow = database.follow

        async def read(self, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
            found = await database.read(function, *args, **options)
            if function is find_kinds and found:
                read.set()
                await purged.wait()
            return found

    embeddings = made(HandExtractor(), cast("Database", Slow()))
    by_digest = [digest_input(text_digest("x"))]
    waiting = asyncio.create_task(embeddings.resolve("acme", info(), by_digest))
    await read.wait()
    await database.write(stored_examples.delete_example, head.uid, text_digest("x"))
    purged.set()
    assert vectors_of(await waiting) == [vector_of("x").tolist()]
    assert embeddings.cached("acme", FINGERPRINT, [text_digest("x")]) == set()
    (gone,) = await embeddings.resolve("acme", info(), by_digest)
    assert isinstance(gone, NotFound)
