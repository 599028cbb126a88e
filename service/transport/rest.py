"""The REST transport: the twin of every RPC under ``/v1``, as a Starlette application."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope

from service.access.authentication import Authentication
from service.access.caller import NOBODY
from service.access.quotas import QuotaBook
from service.addresses import is_loopback
from service.errors import (
    InvalidRequest,
    QuotaExceeded,
    RequestCancelled,
    Unavailable,
    problem_of,
)
from service.requests.call import Call, new_request_id
from service.requests.calls import Calls, Handler, log_refusal
from service.requests.names import tenant_in
from service.transport.forms import form_of, is_form
from service.transport.forwarding import FORWARDED
from service.transport.message_parts import BASE_PARTS
from service.transport.methods import OF_THE_SERVER, Method, RestRoute, methods_of, rpc_of
from service.transport.pages import html_response, page_routes
from service.transport.pages.reports import page_of, wants_page
from service.transport.proto_json import bind, read_json, read_strings
from service.transport.rest_bodies import read_form, write_json

CALLER = "trunkline.caller"
"""Where a request's scope says who asks."""

TIMEOUT_HEADER = "x-request-timeout"
"""Seconds that a REST client gives its request, as gRPC clients give a deadline."""

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]

_ID = re.compile(r"\{(\w+)\}")
METHODS = {method.name: method for method in methods_of(*OF_THE_SERVER)}


class _IdConvertor(StringConvertor):
    """A segment of a path that is an id: none has a colon, which begins a custom verb."""

    regex = "[^/:]+"


register_url_convertor("id", _IdConvertor())


class Backend:
    """The handlers behind the routes; attached when the server starts, after the routes exist.

    Args:
        max_parts: values that the JSON of a body may have.

    Attributes:
        listening: set when the REST port is open.
        handlers: by the name of the RPC.
    """

    def __init__(self, max_parts: int = BASE_PARTS) -> None:
        self.max_parts = max_parts
        self.listening = asyncio.Event()
        self.handlers: Mapping[str, Handler] = {}
        self._calls: Calls | None = None
        self._authentication: Authentication | None = None
        self._quotas: QuotaBook | None = None

    def attach(
        self,
        handlers: Mapping[str, Handler],
        calls: Calls,
        authentication: Authentication,
        quotas: QuotaBook | None = None,
    ) -> None:
        """Connects the routes with the application."""
        self.handlers, self._calls = handlers, calls
        self._authentication = authentication
        self._quotas = quotas

    def rate_limit(self, tenant: str) -> dict[str, str]:
        """Returns the headers that say what is left of a tenant's quota; none without one.

        They are of draft-ietf-httpapi-ratelimit-headers-10: units at most, and the seconds in which
        as many come in; units left, and the seconds until there are as many again.
        """
        limit = self._quotas.rate_limit(tenant) if self._quotas is not None and tenant else None
        if limit is None:
            return {}
        window = max(1, math.ceil(limit.window))
        return {
            "RateLimit-Policy": f'"cost";q={math.floor(limit.burst)};w={window}',
            "RateLimit": f'"cost";r={math.floor(limit.remaining)};t={math.ceil(limit.reset)}',
        }

    @property
    def calls(self) -> Calls:
        """The accounting of requests.

        Raises:
            Unavailable: the server is starting.
        """
        if self._calls is None:
            raise _starting()
        return self._calls

    @property
    def authentication(self) -> Authentication:
        """What says who asks.

        Raises:
            Unavailable: the server is starting.
        """
        if self._authentication is None:
            raise _starting()
        return self._authentication

    @property
    def attached(self) -> bool:
        """Whether the application is there."""
        return self._calls is not None

    @property
    def draining(self) -> bool:
        """Whether the server stops."""
        return self._calls is not None and self._calls.draining


def _starting() -> Unavailable:
    return Unavailable("the server is starting", retry_after=1.0)


def rest_app(backend: Backend) -> Starlette:
    """Builds the application: a route for every path, which knows its verbs, and the pages."""
    verbs: dict[str, dict[str, Endpoint]] = {}
    for method in METHODS.values():
        if (twin := method.rest) is not None:
            verbs.setdefault(twin.path, {})[twin.verb] = _endpoint(method, twin, backend)
    routes = [
        Route(_ID.sub(r"{\1:id}", path), _by_verb(endpoints), methods=list(endpoints))
        for path, endpoints in verbs.items()
    ]
    return Starlette(routes=[*routes, *page_routes()])


def _by_verb(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        verb = "GET" if request.method == "HEAD" else request.method
        return await endpoints[verb](request)

    return endpoint


def problem_response(
    error: Exception,
    request_id: str = "",
    status: int | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Returns an error as an RFC 9457 problem document."""
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
    }
    headers = {**(headers or {}), "X-Request-Id": request_id}
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
    return problem_response(error, request_id, status, headers)


def _call_of(scope: Scope) -> Call:
    """Returns what a request's path alone says of it."""
    method, resource = rpc_of(scope.get("method", ""), scope["path"], METHODS.values())
    call = Call(method, "rest", "", None, caller=scope.get(CALLER, NOBODY))
    call.peer, call.resource = _peer(scope), resource
    return call


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


async def answer(
    backend: Backend,
    method: str,
    read: Callable[[], Coroutine[Any, Any, Message]],
    request: Request,
    status: HTTPStatus = HTTPStatus.OK,
    named: str = "",
) -> Response:
    """Runs an RPC for a REST request, and writes its reply, of a stream the first, or its error.

    Args:
        read: reads the request's message.
        request: the source of the timeout, of the client's address, and of its disconnect.
        status: of the answer, if nothing fails; writing the reply is a part of it.
        named: what the path names of the message, if that is what its caller must be good for.
    """
    try:
        timeout = request_timeout(request)
    except InvalidRequest as error:
        return refuse(error, request.scope)
    request_id = new_request_id()
    try:
        async with backend.calls.handle(
            *(method, "rest", None),
            request_id=request_id,
            timeout=timeout,
            local=_is_local(request),
            caller=request.scope[CALLER],
            rule=(rule := METHODS[method].rule),
            peer=_peer(request.scope),
        ) as call:
            if named or not rule.resource:
                call.resource, call.tenant = named, tenant_in(named) if named else ""
                rule.check_name(named, call.caller)  # before anything is read
            try:
                message = await read()
            except ClientDisconnect as error:
                raise RequestCancelled("the client left while it sent its request") from error
            # A body may take long.
            await backend.authentication.caller(request.headers.items(), call.caller)
            call.name(message)
            rule.check(message, call.caller)
            work = _run(backend.handlers[method], METHODS[method], message, call)
            reply = await _while_connected(work, request.receive)
            backend.calls.record_reply(call, reply)
            headers = {"X-Request-Id": request_id, **backend.rate_limit(call.tenant)}
            if wants_page(request.headers):
                page = await asyncio.to_thread(page_of, reply)
                if page is not None:
                    return html_response(page, headers)
            return JSONResponse(write_json(reply), status, headers)
    except QuotaExceeded as error:
        headers = backend.rate_limit(error.subject.removeprefix("tenants/"))
        return problem_response(error, request_id, headers=headers)
    except Exception as error:
        return problem_response(error, request_id)


def _is_local(request: Request) -> bool:
    """Returns whether a request came from this machine, and from nobody through a proxy on it."""
    client = request.client
    return client is not None and is_loopback(client.host) and FORWARDED.isdisjoint(request.headers)


async def _run(handler: Handler, method: Method, request: Message, call: Call) -> Message:
    reply: Message
    if method.client_streaming:
        reply = await handler(_stream_of(request), call)
    elif method.server_streaming:
        replies = handler(request, call)
        try:
            reply = await anext(replies)
        finally:
            await replies.aclose()
    else:
        reply = await handler(request, call)
    return reply


async def _stream_of(request: Message) -> AsyncIterator[Message]:
    yield request


def _endpoint(method: Method, twin: RestRoute, backend: Backend) -> Endpoint:
    status = HTTPStatus.ACCEPTED if method.server_streaming else HTTPStatus.OK
    suffices = twin.field == method.rule.resource

    async def endpoint(request: Request) -> Response:
        name = twin.name.format(**request.path_params)

        async def read() -> Message:
            return await _read(method, twin, name, request, backend.max_parts)

        named = name if suffices else ""
        return await answer(backend, method.name, read, request, status, named)

    return endpoint


async def _read(
    method: Method, twin: RestRoute, name: str, request: Request, max_parts: int
) -> Message:
    bound: dict[str, Any] = {twin.field: name} if twin.field else {}
    query = parse_qsl(
        request.scope["query_string"].decode("latin-1"),
        keep_blank_values=True,
        errors="surrogateescape",
    )
    bound = bind(method.request, read_strings(method.request, query), bound)
    if is_form(request):
        async with form_of(request) as parts:
            return await read_form(method.request, parts, bound)
    return read_json(method.request, await request.body(), bound, max_parts)


def request_timeout(request: Request) -> float | None:
    """Returns the seconds that the client gives its request; None if it does not say.

    Raises:
        InvalidRequest: the header is no such number.
    """
    text = request.headers.get(TIMEOUT_HEADER)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 86_400:
        raise InvalidRequest.at(
            TIMEOUT_HEADER, "must be seconds above 0, is {value!r}", "above 0, at most 86400", text
        )
    return seconds


async def _while_connected(work: Coroutine[Any, Any, Message], receive: Receive) -> Message:
    """Cancels the work when the client disconnects.

    Raises:
        RequestCancelled: the client disconnected.
    """
    task = asyncio.create_task(work)
    watch = asyncio.create_task(_disconnected(receive))
    try:
        await asyncio.wait((task, watch), return_when=asyncio.FIRST_COMPLETED)
    finally:
        watch.cancel()
        left = not task.done()
        task.cancel()
        # Also if it is done: at the deadline nobody else takes its error.
        await asyncio.gather(task, return_exceptions=True)
    if left:
        raise RequestCancelled("the client left")
    return task.result()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _title(status: int) -> str:
    return HTTPStatus(status).phrase if status in HTTPStatus._value2member_map_ else "Error"
