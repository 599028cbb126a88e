"""What the server answers outside ``/v1``: probes, metrics, and BentoML's native endpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.transport.openapi.operations import PROBLEM, REQUEST_ID, TIMEOUT, form_schema

Json = dict[str, Any]

_STRING: Json = {"type": "string"}
_TEXT: Json = {"content": {"text/plain": {"schema": _STRING}}}

ROW: Json = {
    "type": "object",
    "description": "One input of a native endpoint. Exactly one kind is set.",
    "properties": {
        "image": _STRING | {"contentEncoding": "base64", "description": "An encoded image."},
        "text": _STRING,
        "digest": _STRING | {"description": "Digest of an input sent before."},
    },
}
_ROWS: Json = {"type": "array", "items": {"$ref": "#/components/schemas/Row"}}


def _probe(name: str, words: str, ready: str, otherwise: str | None = None) -> Json:
    responses: Json = {"200": {"description": ready} | _TEXT}
    if otherwise:
        responses["503"] = {"description": otherwise} | _TEXT
    return {
        "get": {
            "operationId": name,
            "tags": ["Health"],
            "summary": words,
            "responses": responses,
        }
    }


def _native(name: str, words: str, body: Mapping[str, Json], required: list[str]) -> Json:
    schema = {"type": "object", "properties": dict(body), "required": required}
    single = {field: described for field, described in body.items() if field != "inputs"}
    content = {
        "application/json": {"schema": schema},
        "multipart/form-data": {"schema": form_schema(single)},
    }
    return {
        "post": {
            "operationId": f"native{name}",
            "tags": ["BentoML"],
            "summary": words,
            "parameters": [TIMEOUT],
            "requestBody": {"required": True, "content": content},
            "responses": {
                "200": {
                    "description": "Done.",
                    "headers": REQUEST_ID,
                    "content": {
                        "application/json": {
                            "schema": {"$ref": f"#/components/schemas/{name}Response"}
                        }
                    },
                },
                "default": PROBLEM,
            },
        }
    }


PATHS: Mapping[str, Json] = {
    "/livez": _probe("livez", "Whether the process runs", "It does."),
    "/healthz": _probe("healthz", "Whether the process runs", "It does."),
    "/readyz": _probe(
        "readyz",
        "Whether requests can be served",
        "They can.",
        "The backbones are not warm yet, or the server stops.",
    ),
    "/metrics": _probe("metrics", "Metrics for Prometheus", "In the text format of Prometheus."),
    "/predict": _native(
        "Predict",
        "Classify inputs with a head",
        {
            "head": _STRING | {"description": "`tenant/head`, or the full name."},
            "inputs": _ROWS,
            "top_k": {"type": "integer", "default": 0},
        },
        ["head", "inputs"],
    ),
    "/embed": _native(
        "Embed",
        "Embed inputs with a backbone",
        {
            "tenant": _STRING | {"description": "Its id, or its full name."},
            "inputs": _ROWS,
            "backbone": _STRING | {"default": ""},
        },
        ["tenant", "inputs"],
    ),
    "/schema.json": {
        "get": {
            "operationId": "schema",
            "tags": ["BentoML"],
            "summary": "The native endpoints, as BentoML's client reads them",
            "responses": {
                "200": {
                    "description": "In BentoML's own form.",
                    "content": {"application/json": {"schema": {"type": "object"}}},
                }
            },
        }
    },
}
