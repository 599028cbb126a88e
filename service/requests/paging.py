"""Pages of lists, and the tokens that name them."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from service.errors import InvalidRequest

DEFAULT_PAGE = 100

MAX_PAGE = 1000


def page_size(wanted: int) -> int:
    """Returns how many items a page has.

    Raises:
        InvalidRequest: more than the largest page.
    """
    if wanted > MAX_PAGE:
        raise InvalidRequest(
            f"page_size: at most {MAX_PAGE}, is {wanted}",
            field="page_size",
            limit=MAX_PAGE,
            value=wanted,
        )
    return wanted or DEFAULT_PAGE


def write_page_token(after: str | int) -> str:
    """Returns the opaque token of the page that begins after this key."""
    return base64.urlsafe_b64encode(json.dumps(after).encode()).decode()


def read_page_token(token: str, kind: type[str] | type[int]) -> Any:
    """Returns the key in a page token, or the first key if the token is empty.

    Raises:
        InvalidRequest: no list gave this token.
    """
    if not token:
        return kind()
    try:
        after = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (ValueError, binascii.Error, RecursionError):
        after = None
    valid = type(after) is kind and (
        after.isprintable() if isinstance(after, str) else 0 <= after < 2**63
    )
    if not valid:
        raise InvalidRequest(
            f"page_token: must come from an earlier page, is {token[:100]!r}",
            field="page_token",
            limit="from an earlier page",
            value=token,
        )
    return after
