"""What became of rows, as messages: their errors, and the longest times."""

from __future__ import annotations

from collections.abc import Iterable

from service.embedding.resolved import Resolved
from service.errors import is_expected, problem_of
from service.logs import get_logger
from service.replies.messages import message_of
from trunkline.v1 import common_pb2

log = get_logger(__name__)


def note_longest(timing: common_pb2.Timing, rows: Iterable[Resolved]) -> None:
    """Puts the rows' times into a reply's, where they are longer than those there."""
    for row in rows:
        timing.decode_seconds = max(timing.decode_seconds, row.decode_seconds)
        timing.queue_seconds = max(timing.queue_seconds, row.queue_seconds)
        timing.backbone_seconds = max(timing.backbone_seconds, row.backbone_seconds)


def row_error(row: int, error: Exception, request_id: str) -> common_pb2.RowError:
    """Converts a failed row's error to a message; an unexpected one is logged in full."""
    if not is_expected(error):
        log.error("row failed", request_id=request_id, row=row, exc_info=error)
    problem = problem_of(error)
    return message_of(common_pb2.RowError, problem, row=row, code=problem.status.code.name)
