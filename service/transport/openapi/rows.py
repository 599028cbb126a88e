"""Schemas of the replies that REST writes as rows, and of its errors: not the protos' own form.

`service.transport.rest_bodies` writes the rows, `service.transport.problems` the errors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from service.errors import STATUSES

Json = dict[str, Any]

_STRING: Json = {"type": "string"}
_NUMBER: Json = {"type": "number"}
_WHOLE: Json = {"type": "integer", "minimum": 0}
_STRINGS: Json = {"type": "array", "items": _STRING}
_NUMBERS: Json = {"type": "array", "items": _NUMBER}
_ERROR: Json = {"$ref": "#/components/schemas/RowError"}
_TIMING: Json = {"$ref": "#/components/schemas/Timing"}

_ROW: Mapping[str, Json] = {
    "row": _WHOLE | {"description": "Index of the input in the request."},
    "digest": _STRING
    | {"description": "64 hexadecimal digits; empty where the row failed before it was hashed."},
}


def _object(properties: Mapping[str, Json], optional: frozenset[str] = frozenset()) -> Json:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def _list_of(row: Json) -> Json:
    return {"type": "array", "items": row}


_TRUNCATED: Json = {
    "const": True,
    "description": "The text is longer than the backbone's window: what lies beyond had no part.",
}

_PREDICTION: Mapping[str, Json] = {
    "error": _ERROR,
    "head": _STRING | {"description": "The head that answered."},
    "version": _WHOLE,
    "live": {"type": "boolean", "description": "Whether the live copy answered."},
    "label": _STRING | {"description": "The most probable class."},
    "probability": _NUMBER | {"description": "Of that class, calibrated."},
    "scores": {
        "type": "object",
        "additionalProperties": _NUMBER,
        "description": "Probabilities by class, most probable first.",
    },
    "set": _STRINGS | {"description": "Only with `conformal_level`."},
    "novelty": _NUMBER
    | {
        "description": "Only of heads that look for novelty: distance from the examples in units "
        "of the threshold."
    },
    "novel": {"type": "boolean", "description": "Likewise: whether it is above 1."},
    "decision": {
        "enum": ["accept", "review"],
        "description": "Only of heads with a rule: what is to become of the answer.",
    },
    "abstained": {"const": True, "description": "The head gives no answer to a novel row."},
    "neighbours": _list_of(
        _object(
            {"digest": _STRING, "label": _STRING, "similarity": _NUMBER, "external_id": _STRING},
            frozenset({"external_id"}),
        )
    )
    | {"description": "Only with `neighbours`: the nearest labelled examples, nearest first."},
    "described": {
        "const": True,
        "description": "The version stands on descriptions of labels, in part at least.",
    },
    "truncated": _TRUNCATED,
}
_ANSWERED = ["head", "version", "live"]
_PREDICTION_ROW = _object({**_ROW, **_PREDICTION}, frozenset(_PREDICTION)) | {
    "oneOf": [
        {"title": "answered", "required": [*_ANSWERED, "label", "probability", "scores"]},
        {"title": "abstained", "required": [*_ANSWERED, "abstained"]},
        {"title": "failed", "required": ["error"]},
    ]
}

_CLASSIFIED = ("error", "label", "probability", "scores", "truncated")
_CLASSIFIED_ROW = _object(
    {**_ROW, **{name: _PREDICTION[name] for name in _CLASSIFIED}}, frozenset(_CLASSIFIED)
) | {
    "oneOf": [{"required": ["label", "probability", "scores"]}, {"required": ["error"]}],
}

_EMBEDDING: Mapping[str, Json] = {
    "embedding": _NUMBERS,
    "truncated": _TRUNCATED,
    "error": _ERROR,
}
_EMBEDDING_ROW = _object({**_ROW, **_EMBEDDING}, frozenset(_EMBEDDING)) | {
    "oneOf": [{"required": ["embedding"]}, {"required": ["error"]}]
}

REPLACEMENTS: Mapping[str, Json] = {
    "trunkline.v1.PredictResponse": _object(
        {
            "predictions": _list_of(_PREDICTION_ROW) | {"description": "One row per input."},
            "timing": _TIMING,
        }
    ),
    "trunkline.v1.ClassifyResponse": _object(
        {
            "predictions": _list_of(_CLASSIFIED_ROW) | {"description": "One row per input."},
            "backbone": _STRING,
            "family": _STRING | {"description": "Of head."},
            "estimate": {"$ref": "#/components/schemas/Estimate"},
            "example_errors": _list_of(_ERROR) | {"description": "Examples that had no part."},
            "truncated_examples": _list_of(_WHOLE),
            "timing": _TIMING,
        },
        frozenset({"estimate"}),
    ),
    "trunkline.v1.EmbedResponse": _object(
        {
            "backbone": _STRING,
            "fingerprint": _STRING,
            "embeddings": _list_of(_EMBEDDING_ROW) | {"description": "One row per input."},
            "timing": _TIMING,
        }
    ),
    "trunkline.v1.Evaluation.confusion": _list_of(_list_of(_WHOLE)),
}
"""By the full name of the message or field that they take the place of."""

PROBLEM: Json = _object(
    {
        "type": {"const": "about:blank"},
        "title": _STRING,
        "status": {"type": "integer", "minimum": 400, "maximum": 599},
        "detail": _STRING | {"description": "What is wrong, in words."},
        "code": {
            "type": "string",
            "enum": sorted({status.code.name for status in STATUSES.values()}),
            "description": "The canonical gRPC code.",
        },
        "reason": _STRING | {"description": "The kind of error, in capitals."},
        "field": _STRING | {"description": "The request's field at fault; may be empty."},
        "limit": _STRING | {"description": "What the field must respect; may be empty."},
        "value": _STRING | {"description": "What it was, shortened; may be empty."},
        "request_id": _STRING | {"description": "What the server's log calls the request."},
    }
) | {"description": "An RFC 9457 problem document."}


def describe_statuses() -> str:
    """Returns a table of HTTP statuses and what they mean, from the table of errors."""
    codes: dict[int, set[str]] = defaultdict(set)
    for status in STATUSES.values():
        codes[status.http].add(status.code.name)
    rows = [f"| {http} | {', '.join(sorted(names))} |" for http, names in sorted(codes.items())]
    return "\n".join(["| status | code |", "| --- | --- |", *rows])
