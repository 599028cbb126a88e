"""Sizes and tokens of pages."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
import sqlalchemy
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Connection, delete, insert

from service.errors import InvalidRequest
from service.requests.paging import PageTokens, page_size
from service.store import schema
from service.store.examples import list_examples
from service.store.feedback import list_feedback
from trunkline.resources import ID_PATTERN

TOKENS = PageTokens(b"k" * 32)
NUMBERS = st.integers(0, 2**63 - 1)
LISTS = st.sampled_from(["examples/a", "examples/b", "feedback/a", "heads/a", ""])


@given(LISTS, NUMBERS)
def test_number_in_a_page_token_comes_back(name: str, key: int) -> None:
    assert TOKENS.read(name, TOKENS.write(name, key), int) == key


@given(LISTS, st.from_regex(ID_PATTERN, fullmatch=True))
def test_name_in_a_page_token_comes_back(name: str, key: str) -> None:
    assert TOKENS.read(name, TOKENS.write(name, key), str) == key


def test_no_token_is_the_first_page() -> None:
    assert TOKENS.read("heads/a", "", int) == 0
    assert TOKENS.read("heads/a", "", str) == ""


def token(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize("kind", [int, str])
@pytest.mark.parametrize(
    "text",
    [
        *("!", "AAA", "é", "////", "a b", "x" * 5000, "A" * 32, "A" * 200),
        *(token(None), token(1), token("name"), token(2**63 - 1), token("\ud800")),
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_token_that_no_page_gave_is_refused(kind: type[int] | type[str], text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"page_token.*begin without one") as caught:
        TOKENS.read("heads/a", text, kind)
    assert caught.value.field == "page_token"


@given(LISTS, LISTS, NUMBERS)
def test_token_is_good_for_its_list_alone(name: str, other: str, key: int) -> None:
    if name != other:
        with pytest.raises(InvalidRequest):
            TOKENS.read(other, TOKENS.write(name, key), int)


@given(NUMBERS, st.integers(0, 31), st.integers(1, 255))
def test_token_that_was_changed_is_refused(key: int, at: int, change: int) -> None:
    sealed = bytearray(base64.urlsafe_b64decode(TOKENS.write("examples/a", key)))
    sealed[at % len(sealed)] ^= change
    with pytest.raises(InvalidRequest):
        TOKENS.read("examples/a", base64.urlsafe_b64encode(sealed).decode(), int)


@given(NUMBERS)
def test_token_shows_neither_a_number_nor_its_size(key: int) -> None:
    sealed = base64.urlsafe_b64decode(TOKENS.write("examples/a", key))
    assert len(sealed) == len(base64.urlsafe_b64decode(TOKENS.write("examples/a", 0)))
    for plain in (key.to_bytes(8, "big"), key.to_bytes(8, "little")):
        assert plain not in sealed
    other = base64.urlsafe_b64decode(PageTokens(b"o" * 32).write("examples/a", key))
    assert sealed[16:] != other[16:], "it depends on the key"


@given(NUMBERS, st.integers(1, 5))
def test_neighbours_of_a_token_cannot_be_told_from_it(key: int, step: int) -> None:
    after = min(key + step, 2**63 - 1)
    if after == key:
        return
    first, second = (
        base64.urlsafe_b64decode(TOKENS.write("examples/a", number)) for number in (key, after)
    )
    alike = sum(a == b for a, b in zip(first, second, strict=True))
    assert alike < 8, "in 24 random bytes that happens once in 10**13"


@dataclass
class Table:
    """A table of two heads' rows that are added and deleted while one head's are listed."""

    connection: Connection
    kind: str
    there: list[str] = field(default_factory=list)
    made: int = 0

    def change(self, act: str, at: int) -> None:
        if act == "delete" and self.there:
            gone = self.there.pop(at % len(self.there))
            table = getattr(schema, self.kind)
            self.connection.execute(delete(table).filter_by(digest=gone))
        elif act == "add":
            self.there.append(self.add("ours"))
        else:
            self.add("others")

    def add(self, uid: str) -> str:
        self.made += 1
        digest = f"{self.made:064x}"
        row = {"head_uid": uid, "digest": digest, "created_at": 0.0}
        if self.kind == "examples":
            row |= {"kind": "text", "source": "upload"}
        else:
            row |= {"feedback_id": digest, "label": "a", "active_version": 0}
        self.connection.execute(insert(getattr(schema, self.kind)), row)
        return digest

    def page(self, after: int, limit: int) -> list[tuple[int, str]]:
        if self.kind == "examples":
            examples = list_examples(self.connection, "ours", after=after, limit=limit, label=None)
            return [(row.id, row.digest) for row in examples]
        feedback = list_feedback(self.connection, "ours", after=after, limit=limit, state=None)
        return [(item.id, item.digest) for item in feedback]


@pytest.fixture(scope="module")
def engine() -> Iterator[sqlalchemy.Engine]:
    made = sqlalchemy.create_engine("sqlite://", poolclass=sqlalchemy.pool.StaticPool)
    schema.metadata.create_all(made)
    yield made
    made.dispose()


ACTS = st.tuples(st.sampled_from(["add", "delete", "others"]), st.integers(0, 50))


@given(
    kind=st.sampled_from(["examples", "feedback"]),
    before=st.integers(0, 12),
    rounds=st.lists(st.lists(ACTS, max_size=4), max_size=8),
    size=st.integers(1, 4),
)
def test_listing_has_every_row_once_that_was_there_all_the_time(
    engine: sqlalchemy.Engine,
    kind: str,
    before: int,
    rounds: list[list[tuple[str, int]]],
    size: int,
) -> None:
    with engine.connect() as connection, connection.begin() as transaction:
        table = Table(connection, kind)
        for _ in range(before):
            table.change("add", 0)
            table.change("others", 0)
        began = list(table.there)
        gone: set[str] = set()
        listed: list[str] = []
        token = ""
        while True:
            after = TOKENS.read("examples/ours", token, int)
            found = table.page(after, size + 1)
            listed += [digest for _, digest in found[:size]]
            if len(found) <= size:
                break
            token = TOKENS.write("examples/ours", found[size - 1][0])
            for act, at in rounds.pop() if rounds else ():
                table.change(act, at)
                gone |= set(began) - set(table.there)
        assert len(listed) == len(set(listed)), "no row comes twice"
        assert listed == sorted(listed), "the oldest come first"
        assert set(began) - gone <= set(listed), "none is skipped"
        transaction.rollback()


@pytest.mark.parametrize(("wanted", "size"), [(0, 100), (1, 1), (1000, 1000)])
def test_page_size_has_a_default(wanted: int, size: int) -> None:
    assert page_size(wanted) == size


def test_page_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 1000, is 1001"):
        page_size(1001)
