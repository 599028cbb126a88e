"""Errors as gRPC tells them: a status with its facts (google.rpc) in the trailers."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from service.errors import ServiceError, problem_of
from service.requests.calls import log_refusal

Context = grpc.aio.ServicerContext[Any, Any]

ERROR_DOMAIN = "trunkline"
TRANSPORT = "grpc"
TYPE_URL = "type.googleapis.com/"


async def refuse(context: Context, error: ServiceError, method: str) -> NoReturn:
    """Answers a call that reached no handler, and logs it under an id of its own."""
    await abort(context, log_refusal(method, TRANSPORT, error), error)


async def abort(context: Context, request_id: str, error: Exception) -> NoReturn:
    """Ends a call with an error, whose frames are let go: they hold the request."""
    problem = problem_of(error)
    forget_frames(error)
    facts = {"field": problem.field, "limit": problem.limit, "value": problem.value}
    details: list[Message] = [
        error_details_pb2.ErrorInfo(
            reason=problem.reason,
            domain=ERROR_DOMAIN,
            metadata={key: value for key, value in facts.items() if value},
        ),
        error_details_pb2.RequestInfo(request_id=request_id),
    ]
    if problem.retry_after is not None:
        seconds, share = divmod(problem.retry_after, 1)
        delay = duration_pb2.Duration(seconds=int(seconds), nanos=int(share * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    status = status_pb2.Status(
        code=problem.status.code.value[0],
        message=problem.message,
        details=[_pack(detail) for detail in details],
    )
    await context.abort(
        problem.status.code,
        problem.message,
        (
            ("grpc-status-details-bin", status.SerializeToString()),
            ("x-request-id", request_id),
        ),
    )


def forget_frames(error: BaseException) -> None:
    """Removes the tracebacks of an error and of those behind it.

    A frame that holds its error, as many do, is otherwise freed by the garbage collector alone.
    """
    behind: BaseException | None = error
    while behind is not None and behind.__traceback__ is not None:
        behind.__traceback__ = None
        behind = behind.__cause__ or behind.__context__


def _pack(message: Message) -> any_pb2.Any:
    return any_pb2.Any(
        type_url=TYPE_URL + message.DESCRIPTOR.full_name, value=message.SerializeToString()
    )
