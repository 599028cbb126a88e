"""What callers say of an input in short key-value pairs, checked."""

from __future__ import annotations

import re
from collections.abc import Mapping

from service.errors import InvalidRequest
from service.requests.fields import NO_CHARACTER
from trunkline.labels import visible

MAX_PAIRS = 16
MAX_VALUE_BYTES = 256

_KEY = re.compile("[A-Za-z0-9._-]{1,64}")


def check_metadata(field: str, pairs: Mapping[str, str]) -> Mapping[str, str]:
    """Returns valid pairs as they are, in the order of their keys; there may be none.

    What is wrong is said without the pairs themselves: reasons are logged, and no log has them.

    Raises:
        InvalidRequest: there are more than `MAX_PAIRS`, a key is not from 1 to 64 of
            `[A-Za-z0-9._-]`, or a value is too long or has what a terminal would obey.
    """
    if len(pairs) > MAX_PAIRS:
        raise InvalidRequest.at(field, "at most {limit} pairs, has {value}", MAX_PAIRS, len(pairs))
    for key, value in pairs.items():
        _check_pair(field, key, value)
    return dict(sorted(pairs.items()))


def _check_pair(field: str, key: str, value: str) -> None:
    if not _KEY.fullmatch(key):
        raise InvalidRequest(
            f"{field}: each key must match {_KEY.pattern}",
            field=field,
            limit=_KEY.pattern,
            value=ascii(key),
        )
    size = len(value.encode())
    if size > MAX_VALUE_BYTES:
        raise InvalidRequest.at(
            field,
            "each value at most {limit} bytes of UTF-8, one has {value}",
            MAX_VALUE_BYTES,
            size,
        )
    if NO_CHARACTER in value or visible(value) != value:
        raise InvalidRequest(
            f"{field}: each value must be valid Unicode without control characters",
            field=field,
            limit="printable",
            value=ascii(value),
        )
