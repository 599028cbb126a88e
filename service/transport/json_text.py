"""JSON text, read into objects, lists and values; what is wrong is told by line and column."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from service.errors import InvalidRequest
from service.transport.message_parts import check_json

LONGEST_INTEGER = 40
"""Digits; longer ones are no field's, and take Python quadratic time."""

_GZIP = b"\x1f\x8b"
_REASONS = (
    ("Unterminated string", "the string that begins there does not end"),
    ("Invalid control character", "a line break or control character in a string must be escaped"),
    ("Invalid \\", "no such escape"),
    ("Extra data", "something follows the end"),
    ("Expecting property name", "a name in double quotes, or the end of the object, must be there"),
    ("Illegal trailing comma", "a comma must not be the last"),
    ("Expecting ':'", "a colon must be there"),
    ("Expecting ','", "a comma, or the end of the list or object, must be there"),
    ("Expecting value", "a value must be there"),
)
"""What Python's parser finds (its words begin so), and what a client is told."""


class Repeating(dict[str, Any]):
    """An object that has this name more than once."""

    repeated: str


def read_object(body: bytes, max_parts: int) -> dict[str, Any]:
    """Reads the JSON object of a body; an empty body is an empty object.

    Strings may have unpaired surrogates; a number that is none is a float.

    Raises:
        InvalidRequest: it is no JSON object, or has more than `max_parts` values.
    """
    data = _read(body, max_parts) if body else {}
    if isinstance(data, dict):
        return data
    raise InvalidRequest.at("body", "must be a JSON object, is {value}", "object", kind_of(data))


def kind_of(value: Any) -> str:
    """Returns what JSON calls a value, with its article."""
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, str):
        return "a string"
    if isinstance(value, dict):
        return "an object"
    return "an array" if isinstance(value, list) else "a number"


def _read(body: bytes, max_parts: int) -> Any:
    try:
        # Unpaired surrogates pass, escaped or not: they cost the row that they are in.
        text = body.decode(json.detect_encoding(body), "surrogatepass").removeprefix("\ufeff")
        check_json(text, max_parts)
        return json.loads(text, object_pairs_hook=_object, parse_int=_integer)
    except UnicodeDecodeError as error:
        packed = "; it looks like gzip: send Content-Encoding: gzip" if body[:2] == _GZIP else ""
        place = f"byte {error.start}"
        raise _malformed(f"is not at {place} (0x{body[error.start]:02x}){packed}", place) from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise _malformed(f"{place}: {_reason(error)}", place) from error
    except RecursionError as error:
        raise _malformed("it is nested too deeply", "nested too deeply") from error


def _reason(error: json.JSONDecodeError) -> str:
    if not error.msg.startswith("Unterminated") and not error.doc[error.pos :].strip():
        return "it ends there, before it is complete"
    return next((words for begin, words in _REASONS if error.msg.startswith(begin)), "unreadable")


def _malformed(reason: str, place: str) -> InvalidRequest:
    return InvalidRequest(
        f"body: must be JSON in UTF-8: {reason}", field="body", limit="JSON", value=place
    )


def _object(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    listed = list(pairs)
    found = dict(listed)
    if len(found) == len(listed):
        return found
    seen: set[str] = set()
    repeating = Repeating(found)
    repeating.repeated = next(name for name, _ in listed if name in seen or seen.add(name))  # type: ignore[func-returns-value]
    return repeating


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) <= LONGEST_INTEGER else float(digits)
