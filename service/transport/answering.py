"""One REST request, answered by an RPC: its caller, deadline, accounting, reply and errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from http import HTTPStatus
from typing import Any, TypeVar

from google.protobuf.message import Message
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.types import Receive

from service.addresses import is_loopback
from service.errors import InvalidRequest, QuotaExceeded, RequestCancelled
from service.requests.call import Call, new_request_id
from service.requests.calls import Handler
from service.requests.names import tenant_in
from service.transport.backend import CALLER, Backend
from service.transport.forwarding import FORWARDED
from service.transport.methods import Method
from service.transport.pages import html_response
from service.transport.pages.reports import page_of, wants_page
from service.transport.problems import METHODS, peer_of, problem_response, refuse
from service.transport.rest_bodies import write_json

TIMEOUT_HEADER = "x-request-timeout"
"""Seconds that a REST client gives its request, as gRPC clients give a deadline."""

T = TypeVar("T")


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

    async def work(call: Call) -> Response:
        message = await received(backend, read, request, call)
        reply = await ask(backend, method, message, request, call)
        if wants_page(request.headers):
            page = await asyncio.to_thread(page_of, reply)
            if page is not None:
                return html_response(page)
        return JSONResponse(write_json(reply), status)

    return await respond(backend, method, work, request, named)


async def respond(
    backend: Backend,
    method: str,
    work: Callable[[Call], Coroutine[Any, Any, Response]],
    request: Request,
    named: str = "",
) -> Response:
    """Answers a REST request as one of an RPC: its rule, deadline, metrics, log, audit and errors.

    Args:
        work: makes the answer; in it, `received` reads what was sent and `ask` runs the RPC.
        named: what the path names, if that is what its caller must be good for.
    """
    try:
        timeout = request_timeout(request)
    except InvalidRequest as error:
        return refuse(error, request.scope)
    request_id, path = new_request_id(), request.scope["path"]
    try:
        async with backend.calls.handle(
            *(method, "rest", None),
            request_id=request_id,
            timeout=timeout,
            local=_is_local(request),
            caller=request.scope[CALLER],
            rule=(rule := METHODS[method].rule),
            peer=peer_of(request.scope),
        ) as call:
            if named or not rule.resource:
                call.resource, call.tenant = named, tenant_in(named) if named else ""
                rule.check_name(named, call.caller)  # before anything is read
            response = await work(call)
            response.headers["X-Request-Id"] = request_id
            response.headers.update(backend.rate_limit(call.tenant))
            return response
    except QuotaExceeded as error:
        headers = backend.rate_limit(error.subject.removeprefix("tenants/"))
        return problem_response(error, request_id, headers=headers, path=path)
    except Exception as error:
        return problem_response(error, request_id, path=path)


async def received(
    backend: Backend, read: Callable[[], Coroutine[Any, Any, T]], request: Request, call: Call
) -> T:
    """Reads what a request sends, and looks at its key again: a body may take long.

    Raises:
        RequestCancelled: the client left meanwhile.
        Unauthenticated: the key is not good any more.
    """
    try:
        sent = await read()
    except ClientDisconnect as error:
        raise RequestCancelled("the client left while it sent its request") from error
    await backend.authentication.caller(request.headers.items(), call.caller)
    return sent


async def ask(
    backend: Backend, method: str, message: Message, request: Request, call: Call
) -> Message:
    """Runs an RPC if the caller may, as long as its client is connected; counts its failed rows."""
    call.name(message)
    METHODS[method].rule.check(message, call.caller)
    work = _run(backend.handlers[method], METHODS[method], message, call)
    reply = await _while_connected(work, request.receive)
    backend.calls.record_reply(call, reply)
    return reply


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
