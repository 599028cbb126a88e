"""Sizes and tokens of pages."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.requests.paging import page_size, read_page_token, write_page_token
from trunkline.resources import ID_PATTERN


@given(st.integers(0, 2**63 - 1))
def test_number_in_a_page_token_comes_back(key: int) -> None:
    assert read_page_token(write_page_token(key), int) == key


@given(st.from_regex(ID_PATTERN, fullmatch=True))
def test_name_in_a_page_token_comes_back(key: str) -> None:
    assert read_page_token(write_page_token(key), str) == key


def test_no_token_is_the_first_page() -> None:
    assert read_page_token("", int) == 0
    assert read_page_token("", str) == ""


def token(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize("kind", [int, str])
@pytest.mark.parametrize(
    "text",
    [
        *("!", "AAA", "é", "////", "a b", "x" * 5000),
        *(token(None), token([1]), token({"a": 1}), token(True), token(1.5)),
        *(token(-1), token(2**63), token("\ud800")),
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
        base64.urlsafe_b64encode(b"9" * 5000).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_token_that_no_page_gave_is_refused(kind: type[int] | type[str], text: str) -> None:
    with pytest.raises(InvalidRequest, match="page_token") as caught:
        read_page_token(text, kind)
    assert caught.value.field == "page_token"


def test_token_of_another_list_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        read_page_token(write_page_token("name"), int)
    with pytest.raises(InvalidRequest):
        read_page_token(write_page_token(3), str)


@given(st.text(max_size=40))
def test_any_token_is_either_read_or_refused(text: str) -> None:
    with suppress(InvalidRequest):
        assert isinstance(read_page_token(text, int), int)


@pytest.mark.parametrize(("wanted", "size"), [(0, 100), (1, 1), (1000, 1000)])
def test_page_size_has_a_default(wanted: int, size: int) -> None:
    assert page_size(wanted) == size


def test_page_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 1000, is 1001"):
        page_size(1001)
