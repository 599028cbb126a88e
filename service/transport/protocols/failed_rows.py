"""Rows that failed, in protocols that have no place for them: the request is refused as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from service.errors import (
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    QueueFull,
    ServiceError,
    Unavailable,
)

_KINDS: dict[str, type[ServiceError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "NOT_FOUND": NotFound,
    "FAILED_PRECONDITION": PreconditionFailed,
    "RESOURCE_EXHAUSTED": QueueFull,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
    "UNAVAILABLE": Unavailable,
}


def refuse_failed(errors: Sequence[Any], field: str) -> None:
    """Refuses a request of which rows failed.

    Args:
        errors: of the rows, as the API's replies have them.
        field: that has the rows, as the protocol calls it.

    Raises:
        ServiceError: naming the first such row.
    """
    if not errors:
        return
    first = errors[0]
    kind = _KINDS.get(first.code, InternalError)
    others = f" ({len(errors)} rows failed)" if len(errors) > 1 else ""
    raise kind(
        f"{field}[{first.row}]: {first.message}{others}",
        field=f"{field}[{first.row}]",
        limit=first.limit,
        value=first.value,
    )
