"""The OpenAPI 3.1 document of the REST API, made from the proto files."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from service.transport.methods import OF_THE_SERVER, methods_of
from service.transport.openapi.comments import read_comments
from service.transport.openapi.operations import BOUND, operation
from service.transport.openapi.rows import PROBLEM, REPLACEMENTS, describe_statuses
from service.transport.openapi.schemas import Schemas
from service.transport.openapi.server_paths import PATHS, ROW
from trunkline.v1 import common_pb2
from trunkline.version import __version__

Json = dict[str, Any]

_DESCRIPTION = """\
One frozen backbone, a classification head for every tenant.

The resources under `/v1` are the twins of the gRPC methods. Fields of requests may be written in
`snake_case`, as here, or in `lowerCamelCase`. Bytes are base64. Replies have all fields but the
optional ones.

A request that fails as a whole is answered with a problem document (RFC 9457) and one of these:

"""
_OTHER_TAGS = {
    "Health": "Probes and metrics.",
    "BentoML": "Two methods in the form of BentoML's own client.",
}


@cache
def openapi_json() -> bytes:
    """Returns the document as JSON; made when it is first asked for."""
    return json.dumps(openapi_document(), ensure_ascii=False).encode()


def openapi_document() -> Json:
    """Returns the document of all routes but the pages."""
    methods = list(methods_of(*OF_THE_SERVER))
    requests: list[Any] = [method.request.DESCRIPTOR for method in methods]
    bound = {
        f"{method.request.DESCRIPTOR.full_name}.{method.rest.field}": BOUND
        for method in methods
        if method.rest is not None
    }
    schemas = Schemas(read_comments(), requests, {**REPLACEMENTS, **bound})
    for part_of_rows in (common_pb2.RowError, common_pb2.Timing):
        schemas.message(part_of_rows.DESCRIPTOR)
    paths: Json = {}
    for method in methods:
        if method.rest is not None:
            path, verb, written = operation(method, method.rest, schemas)
            paths.setdefault(path, {})[verb] = written
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Trunkline",
            "version": __version__,
            "description": _DESCRIPTION + describe_statuses(),
            "license": {"name": "Apache License 2.0"},
        },
        "tags": [
            {"name": service.name, "description": schemas.comment(service.full_name) or ""}
            for service in OF_THE_SERVER
        ]
        + [{"name": name, "description": words} for name, words in _OTHER_TAGS.items()],
        "paths": {**paths, **PATHS},
        "components": _components(schemas),
    }


def _components(schemas: Schemas) -> Json:
    return {
        "schemas": {**schemas.collected, "Problem": PROBLEM, "Row": ROW},
        "parameters": {
            "RequestTimeout": {
                "name": "X-Request-Timeout",
                "in": "header",
                "description": "Seconds that the request may take.",
                "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": 86_400},
            }
        },
        "headers": {
            "RequestId": {
                "description": "What the server's log calls the request.",
                "schema": {"type": "string"},
            },
            "RetryAfter": {
                "description": "Seconds after which trying again may help.",
                "schema": {"type": "integer", "minimum": 1},
            },
        },
        "responses": {
            "Problem": {
                "description": "The request failed as a whole.",
                "headers": {
                    "X-Request-Id": {"$ref": "#/components/headers/RequestId"},
                    "Retry-After": {"$ref": "#/components/headers/RetryAfter"},
                },
                "content": {
                    "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
                },
            }
        },
    }
