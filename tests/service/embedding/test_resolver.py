"""Each embedding is computed once, kept within bounds, and never shared between tenants."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import InvalidInput
from service.embedding.cache import EmbeddingCache
from service.embedding.resolved import Resolved
from service.errors import (
    DeadlineExceeded,
    FingerprintMismatch,
    InvalidRequest,
    NotFound,
    QueueFull,
    ServiceError,
    Unavailable,
)
from service.metrics import Metrics
from service.requests.inputs import Kind, RawInput
from service.store import Database
from service.store import examples as stored_examples
from service.store import heads as stored_heads
from service.store.examples import NewExample
from tests.service.embedding.resolvers import cache_of, key, made, vectors_of
from tests.service.hand_extractor import HandExtractor
from tests.service.tiny_backbone import DIM, FINGERPRINT, digest_input, info, text_input, vector_of
from trunkline.digest import embedding_digest, text_digest

# --- the cache ---


def test_least_recently_used_entry_leaves_first() -> None:
    cache = cache_of(2)
    cache.put(key("a"), vector_of("a"), Kind.TEXT)
    cache.put(key("b"), vector_of("b"), Kind.TEXT)
    assert cache.get(key("a")) is not None
    cache.put(key("c"), vector_of("c"), Kind.TEXT)
    assert cache.get(key("b")) is None
    assert cache.get(key("a")) is not None
    assert cache.get(key("c")) is not None


def test_entry_keeps_no_batch_alive_and_follows_no_change() -> None:
    cache = cache_of(2)
    batch = np.ones((1000, DIM), dtype=np.float32)
    cache.put(key("a"), batch[0], Kind.TEXT)
    batch[:] = 7
    entry = cache.get(key("a"))
    assert entry is not None
    assert entry.vector.tolist() == [1.0] * DIM
    assert entry.vector.base is None


def test_cache_of_no_bytes_keeps_nothing() -> None:
    cache = EmbeddingCache(0, Metrics(1))
    cache.put(key("a"), vector_of("a"), Kind.TEXT)
    assert (len(cache), cache.nbytes) == (0, 0)


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abcdef")), max_size=60))
def test_cache_never_holds_more_than_its_bytes_and_keeps_the_latest(
    steps: list[tuple[bool, str]],
) -> None:
    cache = cache_of(3)
    one = cache_of(1)
    one.put(key("x"), vector_of("x"), Kind.TEXT)
    model: list[str] = []  # least recently used first
    for is_put, name in steps:
        if is_put:
            cache.put(key(name), vector_of(name), Kind.TEXT)
            model = [*model, name][-3:] if name not in model else model
        else:
            found = cache.get(key(name))
            assert (found is not None) == (name in model)
            if found is not None:
                assert np.array_equal(found.vector, vector_of(name))
                model = [*(other for other in model if other != name), name]
        assert len(cache) == len(model)
        assert cache.nbytes == len(model) * one.nbytes


# --- computing once ---


async def test_known_input_is_not_computed_again() -> None:
    extractor = HandExtractor()
    embeddings = made(extractor)
    first = await embeddings.resolve("acme", info(), [text_input("a")])
    second = await embeddings.resolve("acme", info(), [text_input("a"), text_input("b")])
    assert vectors_of(first + second) == [vector_of(t).tolist() for t in "aab"]
    assert extractor.asked == [["a"], ["b"]]


async def test_known_input_took_no_time() -> None:
    embeddings = made(HandExtractor())
    (new,) = await embeddings.resolve("acme", info(), [text_input("a")])
    (known,) = await embeddings.resolve("acme", info(), [text_input("a")])
    assert isinstance(new, Resolved)
    assert (new.decode_seconds, new.queue_seconds, new.backbone_seconds) == (0.1, 0.2, 0.3)
    assert isinstance(known, Resolved)
    assert (known.decode_seconds, known.queue_seconds, known.backbone_seconds) == (0, 0, 0)


async def test_what_one_tenant_sent_is_unknown_to_another() -> None:
    extractor = HandExtractor()
    embeddings = made(extractor)
    await embeddings.resolve("acme", info(), [text_input("a")])
    await embeddings.resolve("bolt", info(), [text_input("a")])
    assert extractor.asked == [["a"], ["a"]]
    (answer,) = await embeddings.resolve("corp", info(), [digest_input(text_digest("a"))])
    assert isinstance(answer, NotFound)


async def test_other_fingerprint_is_another_embedding() -> None:
    extractor = HandExtractor()
    embeddings = made(extractor)
    await embeddings.resolve("acme", info(), [text_input("a")])
    await embeddings.resolve("acme", info(fingerprint="0" * 64), [text_input("a")])
    assert extractor.asked == [["a"], ["a"]]


async def test_input_that_appears_twice_in_a_request_is_computed_once() -> None:
    extractor = HandExtractor()
    rows = [text_input(t) for t in ("a", "b", "a", "a")]
    outcomes = await made(extractor).resolve("acme", info(), rows)
    assert vectors_of(outcomes) == [vector_of(t).tolist() for t in "abaa"]
    assert extractor.asked == [["a", "b"]]


Resolving = asyncio.Task[list[Resolved | Exception]]


async def asked_twice() -> tuple[HandExtractor, Resolving, Resolving]:
    """Requests for "a" and for "a" and "b", whose embeddings the extractor still computes."""
    extractor = HandExtractor()
    extractor.go.clear()
    embeddings = made(extractor)
    first = asyncio.create_task(embeddings.resolve("acme", info(), [text_input("a")]))
    await extractor.changes.until(lambda: len(extractor.asked) == 1)
    both = [text_input("a"), text_input("b")]
    second = asyncio.create_task(embeddings.resolve("acme", info(), both))
    await extractor.changes.until(lambda: len(extractor.asked) == 2)
    return extractor, first, second


async def test_two_concurrent_requests_compute_a_new_input_once() -> None:
    extractor, first, second = await asked_twice()
    extractor.go.set()
    assert vectors_of(await first) == [vector_of("a").tolist()]
    assert vectors_of(await second) == [vector_of("a").tolist(), vector_of("b").tolist()]
    assert extractor.asked == [["a"], ["b"]]


async def test_cancelled_waiter_does_not_cancel_the_others_computation() -> None:
    extractor, first, second = await asked_twice()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    extractor.go.set()
    assert vectors_of(await second) == [vector_of("a").tolist(), vector_of("b").tolist()]
    assert extractor.called_off == []


async def test_computation_that_nobody_waits_for_is_cancelled() -> None:
    extractor = HandExtractor()
    extractor.go.clear()
    embeddings = made(extractor)
    tasks = [
        asyncio.create_task(embeddings.resolve("acme", info(), [text_input("a")])) for _ in range(2)
    ]
    await extractor.changes.until(lambda: len(extractor.asked) == 1)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await extractor.changes.until(lambda: extractor.called_off == [["a"]])
    extractor.go.set()
    again = await embeddings.resolve("acme", info(), [text_input("a")])
    assert vectors_of(again) == [vector_of("a").tolist()]


# --- what can go wrong ---


async def test_bad_row_fails_alone_and_is_tried_again_next_time() -> None:
    extractor = HandExtractor()
    embeddings = made(extractor)
    for _ in range(2):
        good, bad = await embeddings.resolve("acme", info(), [text_input("a"), text_input("bad")])
        assert vectors_of([good]) == [vector_of("a").tolist()]
        assert isinstance(bad, InvalidInput)
    assert extractor.asked == [["a", "bad"], ["bad"]]


async def test_error_among_the_inputs_is_passed_on_in_its_place() -> None:
    error = InvalidRequest("text: must not be empty")
    rows: list[RawInput | Exception] = [text_input("a"), error, text_input("b")]
    outcomes = await made(HandExtractor()).resolve("acme", info(), rows)
    assert outcomes[1] is error
    assert vectors_of([outcomes[0], outcomes[2]]) == [vector_of(t).tolist() for t in "ab"]


@pytest.mark.parametrize("kind", [QueueFull, Unavailable])
async def test_full_queue_or_missing_backbone_fails_the_request(kind: type[ServiceError]) -> None:
    extractor = HandExtractor()
    embeddings = made(extractor)
    await embeddings.resolve("acme", info(), [text_input("a")])
    extractor.error = kind("not now", retry_after=0.5)
    with pytest.raises(kind, match="not now"):
        await embeddings.resolve("acme", info(), [text_input("a"), text_input("b")])
    extractor.error = None
    assert vectors_of(await embeddings.resolve("acme", info(), [text_input("b")]))


async def test_extractor_that_is_always_late_is_asked_again_once_and_no_more() -> None:
    extractor = HandExtractor()
    extractor.error = DeadlineExceeded("too late")
    (outcome,) = await made(extractor).resolve("acme", info(), [text_input("a")])
    assert isinstance(outcome, DeadlineExceeded)
    assert extractor.asked == [["a"], ["a"]]


async def test_deadline_of_another_request_costs_this_one_nothing() -> None:
    extractor = HandExtractor()
    extractor.go.clear()
    embeddings = made(extractor)
    first = asyncio.create_task(embeddings.resolve("acme", info(), [text_input("a")], deadline=0.0))
    second = asyncio.create_task(embeddings.resolve("acme", info(), [text_input("a")]))
    await extractor.changes.until(lambda: len(extractor.asked) == 1)
    await asyncio.sleep(0)
    extractor.error = DeadlineExceeded("too late for the first")
    extractor.go.set()
    assert isinstance((await first)[0], DeadlineExceeded)
    extractor.error = None
    assert vectors_of(await second) == [vector_of("a").tolist()]


async def test_unexpected_error_of_the_extractor_answers_every_row() -> None:
    extractor = HandExtractor()
    extractor.error = ValueError("boom")
    rows = [text_input("a"), text_input("b")]
    outcomes = await made(extractor).resolve("acme", info(), rows)
    assert [type(outcome) for outcome in outcomes] == [ValueError, ValueError]


async def test_extractor_that_loses_a_row_leaks_no_neighbours_embedding() -> None:
    extractor = HandExtractor()
    extractor.missing_rows = 1
    embeddings = made(extractor)
    rows = [text_input("a"), text_input("b")]
    outcomes = await embeddings.resolve("acme", info(), rows)
    assert all(isinstance(outcome, Exception) for outcome in outcomes)
    extractor.missing_rows = 0
    again = await embeddings.resolve("acme", info(), rows)
    assert vectors_of(again) == [vector_of(t).tolist() for t in "ab"]


async def test_unknown_digest_fails_its_row_alone() -> None:
    rows = [digest_input("0" * 64), text_input("a")]
    missing, found = await made(HandExtractor()).resolve("acme", info(), rows)
    assert isinstance(missing, NotFound)
    assert (missing.field, missing.value) == ("digest", "0" * 64)
    assert vectors_of([found]) == [vector_of("a").tolist()]


async def test_digest_stands_for_what_was_sent_before() -> None:
    extractor = HandExtractor()
    embeddings = made(extractor)
    await embeddings.resolve("acme", info(), [text_input("a")])
    (answer,) = await embeddings.resolve("acme", info(), [digest_input(text_digest("a"))])
    assert isinstance(answer, Resolved)
    assert answer.kind is Kind.TEXT
    assert extractor.asked == [["a"]]


def embedding_input(values: list[float], fingerprint: str = FINGERPRINT) -> RawInput:
    vector = np.array(values, dtype="<f4")
    digest = embedding_digest(fingerprint, vector.tobytes())
    return RawInput(Kind.EMBEDDING, digest, vector, fingerprint)


async def test_embedding_is_taken_as_it_is_and_known_by_its_digest() -> None:
    extractor = HandExtractor()
    embeddings = made(extractor)
    raw = embedding_input([1, 2, 3, 4])
    (answer,) = await embeddings.resolve("acme", info(), [raw])
    (again,) = await embeddings.resolve("acme", info(), [digest_input(raw.digest)])
    assert vectors_of([answer, again]) == [[1, 2, 3, 4]] * 2
    assert extractor.asked == []


async def test_embedding_of_another_backbone_or_length_fails_its_row_alone() -> None:
    rows = [embedding_input([1, 2, 3, 4], "0" * 64), embedding_input([1, 2]), text_input("a")]
    foreign, short, good = await made(HandExtractor()).resolve("acme", info(), rows)
    assert isinstance(foreign, FingerprintMismatch)
    assert isinstance(short, InvalidRequest)
    assert (short.limit, short.value) == ([DIM], [2])
    assert vectors_of([good]) == [vector_of("a").tolist()]


# --- beside the store ---


async def store_text(database: Database, tenant: str, text: str) -> None:
    head = await database.write(
        stored_heads.create_head,
        tenant=tenant,
        name="head",
        backbone="tiny/text",
        fingerprint=FINGERPRINT,
        spec={},
        keep_inputs=False,
    )
    example = NewExample(text_digest(text), "text", vector_of(text), None, "upload", None)
    await database.write(stored_examples.store_examples, head.uid, [example], max_examples=10)


async def test_digest_of_a_stored_example_is_found_in_the_store(database: Database) -> None:
    await store_text(database, "acme", "a")
    extractor = HandExtractor()
    embeddings = made(extractor, database)
    (answer,) = await embeddings.resolve("acme", info(), [digest_input(text_digest("a"))])
    assert isinstance(answer, Resolved)
    assert answer.kind is Kind.TEXT
    assert vectors_of([answer]) == [vector_of("a").tolist()]
    (foreign,) = await embeddings.resolve("bolt", info(), [digest_input(text_digest("a"))])
    assert isinstance(foreign, NotFound)
    assert extractor.asked == []


async def test_input_about_to_be_stored_is_looked_for_in_the_store_first(
    database: Database,
) -> None:
    await store_text(database, "acme", "a")
    extractor = HandExtractor()
    rows = [text_input("a"), text_input("b")]
    outcomes = await made(extractor, database).resolve("acme", info(), rows, look_in_store=True)
    assert vectors_of(outcomes) == [vector_of(t).tolist() for t in "ab"]
    assert extractor.asked == [["b"]]
