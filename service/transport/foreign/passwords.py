"""Keys that come as a password (RFC 7617), from clients that know nothing else."""

from __future__ import annotations

import base64
import binascii

from starlette.types import Scope

from service.transport.foreign.paths import LABEL_STUDIO

_BASIC = b"basic "


def with_bearer(scope: Scope) -> Scope:
    """Returns the scope with a password as a key, on the paths whose clients show theirs so.

    Whoever shows it is named by the key alone: the user's name says nothing.
    """
    if not scope["path"].startswith(LABEL_STUDIO):
        return scope
    headers = [
        (name, _bearer(value) if name.lower() == b"authorization" else value)
        for name, value in scope["headers"]
    ]
    return {**scope, "headers": headers}


def _bearer(value: bytes) -> bytes:
    if value[: len(_BASIC)].lower() != _BASIC:
        return value
    try:
        pair = base64.b64decode(value[len(_BASIC) :].strip(), validate=True)
    except binascii.Error:
        return value  # which is no key, and is refused as one
    return b"Bearer " + pair.partition(b":")[2]
