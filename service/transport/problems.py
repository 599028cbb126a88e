"""Errors as REST tells them: problem documents (RFC 9457)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus

from starlette.responses import JSONResponse
from starlette.types import Scope

from service.access.caller import NOBODY
from service.errors import problem_of
from service.requests.call import Call
from service.requests.calls import log_refusal
from service.transport.backend import CALLER, Backend
from service.transport.foreign.errors import error_member, retry_headers
from service.transport.foreign.paths import foreign_rpc_of
from service.transport.methods import OF_THE_SERVER, methods_of, rpc_of

METHODS = {method.name: method for method in methods_of(*OF_THE_SERVER)}


def problem_response(
    error: Exception,
    request_id: str = "",
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    path: str = "",
) -> JSONResponse:
    """Returns an error as an RFC 9457 problem document.

    Args:
        path: that was asked for: to clients of some protocols, which read an `error` alone, the
            document says it in their form as well.
    """
    problem = problem_of(error)
    status = status or problem.status.http
    body = {
        "type": "about:blank",
        "title": _title(status),
        "status": status,
        "detail": problem.message,
        "code": problem.status.code.name,
        "reason": problem.reason,
        "field": problem.field,
        "limit": problem.limit,
        "value": problem.value,
        "request_id": request_id,
        **error_member(path, problem, status),
    }
    headers = {**(headers or {}), **retry_headers(path, problem), "X-Request-Id": request_id}
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"  # RFC 9110, section 15.5.2
    if problem.retry_after is not None:
        headers["Retry-After"] = str(max(1, math.ceil(problem.retry_after)))
    return JSONResponse(body, status, headers, media_type="application/problem+json")


def refuse(
    error: Exception,
    scope: Scope,
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
    backend: Backend | None = None,
) -> JSONResponse:
    """Answers a request that reached no handler, and logs it under an id of its own.

    Args:
        status: in place of the error's own.
        headers: to send along.
        backend: counts it, and notes it if access was refused.
    """
    call = _call_of(scope)
    asked = f"{scope.get('method', 'WebSocket')} {call.method or '/…'}"  # paths may be texts
    if backend is None or not backend.attached:
        request_id = log_refusal(asked, "rest", error, call.caller)
    else:
        request_id = backend.calls.refused(asked, error, call)
    return problem_response(error, request_id, status, headers, scope["path"])


def _call_of(scope: Scope) -> Call:
    """Returns what a request's path alone says of it."""
    verb, path = scope.get("method", ""), scope["path"]
    method, resource = foreign_rpc_of(verb, path) or rpc_of(verb, path, METHODS.values())
    call = Call(method, "rest", "", None, caller=scope.get(CALLER, NOBODY))
    call.peer, call.resource = peer_of(scope), resource
    return call


def peer_of(scope: Scope) -> str:
    """Returns the address of a request's client; "" for none."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def _title(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"
