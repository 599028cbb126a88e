"""What an extraction server answers, as values and errors of this one."""

from __future__ import annotations

import grpc

from models import Modality
from service.errors import (
    MAX_SHOWN,
    DeadlineExceeded,
    InternalError,
    InvalidRequest,
    NotFound,
    PreconditionFailed,
    QueueFull,
    ServiceError,
    Unavailable,
)
from service.extraction import BackboneInfo
from service.logs import get_logger
from trunkline.connection.status import error_from_rpc
from trunkline.v1 import common_pb2, extraction_pb2

RETRY_AFTER = 1.0

_ERRORS: dict[str, type[ServiceError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "NOT_FOUND": NotFound,
    "RESOURCE_EXHAUSTED": QueueFull,
    "FAILED_PRECONDITION": PreconditionFailed,
    "UNAVAILABLE": Unavailable,
    "CANCELLED": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}
_AWAY = ("UNAVAILABLE", "CANCELLED")
_OF_A_PROXY = ("INTERNAL", "UNKNOWN", "NOT_FOUND")
"""What a proxy answers by itself where there is no extractor behind it, or the one that had the
call has died."""

log = get_logger(__name__)


def service_error(error: grpc.aio.AioRpcError, away: Unavailable) -> ServiceError:
    """Converts a failed call.

    Args:
        away: the error of calls that no extractor answers.
    """
    code = error.code().name
    if code in _AWAY:
        return away
    detail = error_from_rpc(error)
    retry_after = detail.retry_after
    if not detail.request_id:  # which every answer of an extractor has
        if code in _OF_A_PROXY:
            log.warning("no extractor answered", code=code, reason=reason_of(error))
            return away
        if code == "RESOURCE_EXHAUSTED" and not detail.field:  # the proxy's own queue is full
            retry_after = retry_after or RETRY_AFTER
    return _ERRORS.get(code, InternalError)(
        f"extractor: {detail.message}",
        field=detail.field or None,
        limit=detail.limit or None,
        value=detail.value or None,
        retry_after=retry_after,
    )


def reason_of(error: grpc.aio.AioRpcError) -> str:
    """Returns what an error says, without the pages of a trace that a proxy may add."""
    return (error.details() or "")[:MAX_SHOWN]


def row_error(error: common_pb2.RowError) -> ServiceError:
    """Converts the error of one row of a reply."""
    kind = _ERRORS.get(error.code, InternalError)
    return kind(
        error.message,
        field=error.field or None,
        limit=error.limit or None,
        value=error.value or None,
    )


def backbone_info(message: extraction_pb2.Backbone) -> BackboneInfo:
    """Converts the server's description of a backbone."""
    return BackboneInfo(
        name=message.name,
        modality=Modality(message.modality),
        dim=message.dim,
        fingerprint=message.fingerprint,
        engine=message.engine,
        device=message.device,
        ready=message.ready,
        cut=message.cut,
        tail_blocks=tuple(message.tail_blocks),
    )
