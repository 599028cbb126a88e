"""Errors of rows as messages."""

from __future__ import annotations

from service.errors import is_expected, problem_of
from service.logs import get_logger
from service.replies.messages import message_of
from trunkline.v1 import common_pb2

log = get_logger(__name__)


def row_error(row: int, error: Exception, request_id: str) -> common_pb2.RowError:
    """Converts a failed row's error to a message; an unexpected one is logged in full."""
    if not is_expected(error):
        log.error("row failed", request_id=request_id, row=row, exc_info=error)
    problem = problem_of(error)
    return message_of(common_pb2.RowError, problem, row=row, code=problem.status.code.name)
