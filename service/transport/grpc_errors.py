"""Errors as gRPC tells them: a status with its facts (google.rpc) in the trailers."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2

from service.access.caller import NOBODY, Caller
from service.addresses import host_of_peer
from service.errors import ServiceError, forget_frames, problem_of
from service.requests.call import Call
from service.requests.calls import Calls, log_refusal

Context = grpc.aio.ServicerContext[Any, Any]

ERROR_DOMAIN = "trunkline"
TRANSPORT = "grpc"
TYPE_URL = "type.googleapis.com/"


async def refuse(
    context: Context,
    error: ServiceError,
    method: str,
    calls: Calls | None = None,
    caller: Caller = NOBODY,
) -> NoReturn:
    """Answers a call that reached no handler, and logs it under an id of its own.

    Args:
        calls: count it, and note it if access was refused; where there is such a method.
        caller: who made it, as far as that was looked at.
    """
    if calls is None:
        request_id = log_refusal(method, TRANSPORT, error, caller)
    else:
        call = Call(method.rpartition("/")[2], TRANSPORT, "", None, caller=caller)
        call.peer = host_of_peer(context.peer())
        request_id = calls.refused(method, error, call)
    await abort(context, request_id, error)


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
    if problem.subject:
        violation = error_details_pb2.QuotaFailure.Violation(
            subject=problem.subject, description=problem.message
        )
        details.append(error_details_pb2.QuotaFailure(violations=[violation]))
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


def _pack(message: Message) -> any_pb2.Any:
    return any_pb2.Any(
        type_url=TYPE_URL + message.DESCRIPTOR.full_name, value=message.SerializeToString()
    )
