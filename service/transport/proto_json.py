"""JSON objects, query strings and form fields, read as messages of the proto files."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import Message

from service.errors import InvalidRequest

Json = dict[str, Any]

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_WHOLE_NUMBERS = (FieldDescriptor.CPPTYPE_UINT32, FieldDescriptor.CPPTYPE_UINT64)
_NUMBERS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
_NAMED = re.compile(r"Failed to parse (\w+) field")
_PLACED = re.compile(r"at \w+\.([\w.\[\]]*\w)")


def read_json(request_class: type[Message], body: bytes, bound: Mapping[str, Any]) -> Message:
    """Reads a JSON object as a message.

    Args:
        bound: fields that the path or the query string has set already.

    Raises:
        InvalidRequest: the body is not such an object, or sets a bound field otherwise.
    """
    try:
        data = json.loads(body) if body else {}
    except (ValueError, RecursionError) as error:
        raise InvalidRequest(
            f"body: must be JSON in UTF-8: {error}", field="body", limit="JSON", value="malformed"
        ) from error
    if not isinstance(data, dict):
        raise InvalidRequest(
            f"body: must be a JSON object, is {type(data).__name__}",
            field="body",
            limit="object",
            value=type(data).__name__,
        )
    for field, value in bound.items():
        if data.get(field, value) != value:
            raise InvalidRequest(
                f"{field}: must be the path's {value}, is {str(data[field])[:100]!r}",
                field=field,
                limit=value,
                value=data[field],
            )
    return _parse(request_class, {**data, **bound})


def read_strings(request_class: type[Message], values: Mapping[str, str]) -> Json:
    """Converts values of a query string or form to JSON's: protobuf reads no booleans of strings.

    Raises:
        InvalidRequest: one is no boolean where one belongs.
    """
    fields = _fields(request_class.DESCRIPTOR)
    read: Json = dict(values)
    for name, value in values.items():
        field = fields.get(name)
        if field is None or field.cpp_type != FieldDescriptor.CPPTYPE_BOOL:
            continue
        if value.lower() not in _BOOLEANS:
            raise _refusal([name], field, value)
        read[name] = _BOOLEANS[value.lower()]
    return read


def _parse(request_class: type[Message], data: Json) -> Message:
    for name, field in _fields(request_class.DESCRIPTOR).items():
        # Protobuf would take true and 1.5 for the enum's first value.
        if field.enum_type is not None and isinstance(data.get(name), (bool, float)):
            raise _refusal([name], field, data[name])
    try:
        return ParseDict(data, request_class())
    except (ParseError, RecursionError, TypeError) as error:
        reason = str(error)
        path = _path(reason)
        if (found := _look_up(request_class.DESCRIPTOR, data, path)) is not None:
            raise _refusal(path, *found) from error
        raise InvalidRequest(
            f"body: {reason[:300]}",
            field="body",
            limit=request_class.DESCRIPTOR.name,
            value="malformed",
        ) from error


def _path(reason: str) -> list[str]:
    """Finds where protobuf's parser failed: by the path it names, or by one message in another."""
    placed = _PLACED.search(reason)
    return placed.group(1).split(".") if placed else _NAMED.findall(reason)


def _look_up(descriptor: Any, data: Any, path: Sequence[str]) -> tuple[FieldDescriptor, Any] | None:
    """Returns the field of a path and its value, where the path leads to a single value."""
    field: FieldDescriptor | None = None
    for name in path:
        field = _fields(descriptor).get(name)
        if field is None or not isinstance(data, dict):
            return None
        data = data.get(field.name, data.get(field.json_name))
        descriptor = field.message_type or descriptor
    if field is None or field.message_type is not None or isinstance(data, (dict, list)):
        return None
    return field, data


def _refusal(path: Sequence[str], field: FieldDescriptor, value: Any) -> InvalidRequest:
    name, wanted = ".".join([*path[:-1], field.name]), _wanted(field)
    return InvalidRequest(
        f"{name}: must be {wanted}, is {str(value)[:100]!r}", field=name, limit=wanted, value=value
    )


def _wanted(field: FieldDescriptor) -> str:
    """Describes what a field takes."""
    if field.enum_type is not None:
        return ", ".join(value.name for value in field.enum_type.values)
    if field.cpp_type in _WHOLE_NUMBERS:
        return "a whole number from 0"
    if field.cpp_type in _NUMBERS:
        return "a number"
    if field.cpp_type == FieldDescriptor.CPPTYPE_BOOL:
        return "true or false"
    return "base64" if field.type == FieldDescriptor.TYPE_BYTES else "a string"


def _fields(descriptor: Any) -> dict[str, FieldDescriptor]:
    """Returns the fields under both of their names."""
    named = {field.name: field for field in descriptor.fields}
    return {field.json_name: field for field in descriptor.fields} | named
