"""The operations of ``/v1``: one for every RPC with a REST twin."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from google.protobuf.descriptor import Descriptor

from service.transport.methods import Method, RestRoute
from service.transport.openapi.examples import BODIES
from service.transport.openapi.schemas import Schemas
from service.transport.rest_bodies import COLUMNS, LINES, ROWS
from trunkline.resources import ID_PATTERN

Json = dict[str, Any]

PROBLEM: Json = {"$ref": "#/components/responses/Problem"}
REQUEST_ID: Json = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
TIMEOUT: Json = {"$ref": "#/components/parameters/RequestTimeout"}

BOUND: Json = {"type": "string", "description": "What the path says; may be left out."}
"""The field of a request's body that the path fills."""

_PLAIN_ROWS = (
    "An image as the body is one row. JSON lines have an input on each line, and are answered with "
    "as many lines, of which the schema describes one; their other names are "
    f"{' and '.join(f'`{name}`' for name in LINES[1:])}. With both, the query string has the "
    "request's other fields."
)

_FORMS = {request.DESCRIPTOR: columns for request, columns in COLUMNS.items()}
_SEGMENT = re.compile(r"(\w+)s/\{(id\d)\}")
_VERSION_PATTERN = "^([1-9][0-9]{0,18}|active)$"
_ALL_TENANTS_PATTERN = f"{ID_PATTERN}|^-$"
_OVER_ALL_TENANTS = {"ListHeads", "GetUsage"}


def operation(method: Method, rest: RestRoute, schemas: Schemas) -> tuple[str, str, Json]:
    """Describes an RPC's REST twin.

    Returns:
        The path as OpenAPI writes it, the verb in lower case, and the operation.
    """
    described = schemas.comment(f"{method.service}.{method.name}")
    request: Any = method.request.DESCRIPTOR  # of either of protobuf's implementations
    response: Any = method.response.DESCRIPTOR
    written: Json = {
        "operationId": method.name,
        "tags": [method.service.rpartition(".")[2]],
        "summary": method.handler.replace("_", " ").capitalize(),
        "parameters": [*_path_parameters(method, rest), TIMEOUT],
    }
    if described:
        written["description"] = described
    if rest.verb == "POST":
        written["requestBody"] = _body(method, rest, schemas)
    else:
        written["parameters"][-1:-1] = _query_parameters(request, rest, schemas)
    written["responses"] = {
        "202" if method.server_streaming else "200": {
            "description": "Started, or joined; ask for it by its name until it has ended."
            if method.server_streaming
            else "Done.",
            "headers": REQUEST_ID,
            "content": {
                "application/json": {"schema": schemas.message(response)},
                **_answered_lines(method),
            },
        },
        "default": PROBLEM,
    }
    return openapi_path(rest), rest.verb.lower(), written


def openapi_path(rest: RestRoute) -> str:
    """Returns the path with its ids named after what they name: ``/v1/tenants/{tenant}``."""
    return _SEGMENT.sub(r"\1s/{\1}", rest.path)


def _path_parameters(method: Method, rest: RestRoute) -> Iterator[Json]:
    for name, _ in _SEGMENT.findall(rest.path):
        pattern = _VERSION_PATTERN if name == "version" else ID_PATTERN
        if name == "tenant" and method.name in _OVER_ALL_TENANTS:
            pattern = _ALL_TENANTS_PATTERN
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": pattern},
        }


def _query_parameters(request: Descriptor, rest: RestRoute, schemas: Schemas) -> Iterator[Json]:
    for field in request.fields:
        if field.name == rest.field:
            continue
        parameter: Json = {"name": field.name, "in": "query", "schema": schemas.field(field)}
        if described := parameter["schema"].pop("description", None):
            parameter["description"] = described
        yield parameter


def _body(method: Method, rest: RestRoute, schemas: Schemas) -> Json:
    request: Any = method.request.DESCRIPTOR
    content: Json = {"application/json": {"schema": schemas.message(request)}}
    if method.name in BODIES:
        content["application/json"]["example"] = BODIES[method.name]
    if request in _FORMS:
        content["multipart/form-data"] = {"schema": _form(request, rest, schemas)}
    if method.name not in ROWS:
        return {"content": content}
    content["image/*"] = {}  # of no schema, as OpenAPI 3.1 describes bytes
    content[LINES[0]] = {"schema": {"$ref": "#/components/schemas/Input"}}
    return {"content": content, "description": _PLAIN_ROWS}


def _answered_lines(method: Method) -> Json:
    if method.name not in ROWS:
        return {}
    reply = method.response.DESCRIPTOR.name
    row = f"#/components/schemas/{reply}/properties/{ROWS[method.name]}/items"
    return {LINES[0]: {"schema": {"$ref": row}}}


def _form(request: Descriptor, rest: RestRoute, schemas: Schemas) -> Json:
    single = {
        field.name: schemas.field(field)
        for field in request.fields
        if field.message_type is None and not field.is_repeated and field.name != rest.field
    }
    return form_schema(single, _FORMS[request])


def form_schema(single: Mapping[str, Json], columns: Iterable[str] = ()) -> Json:
    """Describes a form: its rows, what belongs to each of them, and the fields of the request."""
    files = {"type": "array", "items": {"type": "string", "format": "binary"}}
    strings = {"type": "array", "items": {"type": "string"}}
    return {
        "type": "object",
        "description": "Each part called `image` or `text` is a row, in order. Other parts set "
        "fields of the request.",
        "properties": {
            "image": files | {"description": "Files."},
            "text": strings | {"description": "Strings, or files in UTF-8."},
            **{
                name: strings | {"description": "One for each row in order, or none at all."}
                for name in columns
            },
            **single,
        },
    }
