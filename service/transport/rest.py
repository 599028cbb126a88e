"""The REST transport: the twin of every RPC under ``/v1``, as a Starlette application."""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl

from google.protobuf.message import Message
from starlette.applications import Starlette
from starlette.convertors import StringConvertor, register_url_convertor
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from service.transport.answering import answer
from service.transport.backend import Backend
from service.transport.forms import form_of, is_form
from service.transport.methods import Method, RestRoute
from service.transport.pages import page_routes
from service.transport.plain_rows import answer_lines, media_type_of, read_image
from service.transport.problems import METHODS
from service.transport.proto_json import bind, read_json, read_strings
from service.transport.rest_bodies import LINES, ROWS, read_form

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]

_ID = re.compile(r"\{(\w+)\}")


class _IdConvertor(StringConvertor):
    """A segment of a path that is an id: none has a colon, which begins a custom verb."""

    regex = "[^/:]+"


register_url_convertor("id", _IdConvertor())


def rest_app(backend: Backend, others: Sequence[BaseRoute] = ()) -> Starlette:
    """Builds the application: a route for every path, which knows its verbs, and the pages.

    Args:
        others: routes beside those of the RPCs.
    """
    verbs: dict[str, dict[str, Endpoint]] = {}
    for method in METHODS.values():
        if (twin := method.rest) is not None:
            verbs.setdefault(twin.path, {})[twin.verb] = _endpoint(method, twin, backend)
    routes = [
        Route(_ID.sub(r"{\1:id}", path), _by_verb(endpoints), methods=list(endpoints))
        for path, endpoints in verbs.items()
    ]
    return Starlette(routes=[*routes, *others, *page_routes()])


def _by_verb(endpoints: Mapping[str, Endpoint]) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        verb = "GET" if request.method == "HEAD" else request.method
        return await endpoints[verb](request)

    return endpoint


def _endpoint(method: Method, twin: RestRoute, backend: Backend) -> Endpoint:
    status = HTTPStatus.ACCEPTED if method.server_streaming else HTTPStatus.OK
    suffices = twin.field == method.rule.resource

    async def endpoint(request: Request) -> Response:
        name = twin.name.format(**request.path_params)
        if method.name in ROWS and media_type_of(request) in LINES:
            bound = _bound(method, twin, name, request)
            return await answer_lines(backend, method, request, bound, name)

        async def read() -> Message:
            return await _read(method, twin, name, request, backend.max_parts)

        named = name if suffices else ""
        return await answer(backend, method.name, read, request, status, named)

    return endpoint


async def _read(
    method: Method, twin: RestRoute, name: str, request: Request, max_parts: int
) -> Message:
    bound = _bound(method, twin, name, request)
    if is_form(request):
        async with form_of(request) as parts:
            return await read_form(method.request, parts, bound)
    if method.name in ROWS and media_type_of(request).startswith("image/"):
        return read_image(method.request, await request.body(), bound)
    return read_json(method.request, await request.body(), bound, max_parts)


def _bound(method: Method, twin: RestRoute, name: str, request: Request) -> dict[str, Any]:
    """Returns the fields that the path and the query string set."""
    bound: dict[str, Any] = {twin.field: name} if twin.field else {}
    query = parse_qsl(
        request.scope["query_string"].decode("latin-1"),
        keep_blank_values=True,
        errors="surrogateescape",
    )
    return bind(method.request, read_strings(method.request, query), bound)
