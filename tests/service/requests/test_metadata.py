"""Pairs are taken as they are, or refused without being told."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from service.errors import InvalidRequest
from service.requests.metadata import MAX_PAIRS, check_metadata


def test_good_pairs_come_back_in_the_order_of_their_keys() -> None:
    pairs = {"z.Z_9-": "", "camera": " é\u0301\u200d = ä", "a" * 64: "ä" * 128}
    checked = check_metadata("metadata", pairs)
    assert checked == pairs
    assert list(checked) == ["a" * 64, "camera", "z.Z_9-"]
    assert check_metadata("metadata", {}) == {}
    assert len(check_metadata("metadata", {f"k{i}": "v" for i in range(MAX_PAIRS)})) == MAX_PAIRS


@pytest.mark.parametrize(
    ("pairs", "limit", "value"),
    [
        ({f"k{i}": "v" for i in range(17)}, 16, 17),
        ({"": "secret"}, "[A-Za-z0-9._-]{1,64}", "''"),
        ({"k" * 65: "secret"}, "[A-Za-z0-9._-]{1,64}", "'" + "k" * 65 + "'"),
        ({"secret\n": "v"}, "[A-Za-z0-9._-]{1,64}", "'secret\\n'"),
        ({"sécret": "v"}, "[A-Za-z0-9._-]{1,64}", "'s\\xe9cret'"),
        ({"k": "ä" * 128 + "s"}, 256, 257),
        ({"k": "secret\n"}, "printable", "'secret\\n'"),
        ({"k": "\u202esecret"}, "printable", "'\\u202esecret'"),
        ({"k": "secret\uffff"}, "printable", "'secret\\uffff'"),
    ],
)
def test_bad_pairs_are_refused_and_not_in_the_reason(
    pairs: Mapping[str, str], limit: object, value: object
) -> None:
    with pytest.raises(InvalidRequest, match=r"^metadata: ") as refused:
        check_metadata("metadata", pairs)
    error = refused.value
    assert (error.field, error.limit, error.value) == ("metadata", limit, value)
    assert "secret" not in error.message
