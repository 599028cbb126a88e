"""What an extraction server answers, as values and errors of this one."""

from __future__ import annotations

from models import Modality
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
from service.extraction import BackboneInfo
from trunkline.v1 import common_pb2, extraction_pb2

ERRORS: dict[str, type[ServiceError]] = {
    "INVALID_ARGUMENT": InvalidRequest,
    "NOT_FOUND": NotFound,
    "RESOURCE_EXHAUSTED": QueueFull,
    "FAILED_PRECONDITION": PreconditionFailed,
    "UNAVAILABLE": Unavailable,
    "CANCELLED": Unavailable,
    "DEADLINE_EXCEEDED": DeadlineExceeded,
}
"""By the code of a call or of a row; any other is the server's fault."""


def row_error(error: common_pb2.RowError) -> ServiceError:
    """Converts the error of one row of a reply."""
    kind = ERRORS.get(error.code, InternalError)
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
