"""Settings that are URLs, whose password nobody is shown."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import PlainSerializer, SerializationInfo

WITH_PASSWORDS = {"passwords": True}
"""Context in which settings are dumped for another part of the server, which needs them."""

_NAMED = re.compile("([?&]password=)[^&]*")


def without_password(text: str) -> str:
    """Returns a URL without whatever stands before its host, also where it is no good one.

    Nor does it have the password that PostgreSQL's may name behind it.
    """
    text = _NAMED.sub(r"\1***", text)
    before, at, host = text.rpartition("@")
    scheme, slashes, _ = before.partition("://")
    return f"{scheme}://***@{host}" if slashes else f"***@{host}" if at else text


def _shown(value: str | None, info: SerializationInfo) -> str | None:
    if value is None or (info.context or {}).get("passwords"):
        return value
    return without_password(value)


SecretUrl = Annotated[str | None, PlainSerializer(_shown)]
"""A URL, or none, that may hold a password; it is dumped without, unless the context asks."""
