"""JSON objects, query strings and form fields, read as messages of the proto files.

The object is walked beside the message's descriptor, so that whatever is wrong is told in the
API's words, with the path of its field: ``inputs[0].image``.
"""

from __future__ import annotations

import difflib
import functools
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from service.errors import InvalidRequest
from service.requests.fields import NO_CHARACTER
from service.transport.base64_text import read_base64
from service.transport.json_text import Repeating, kind_of, read_object
from service.transport.message_parts import BASE_PARTS
from trunkline.v1 import common_pb2

Json = dict[str, Any]

_BOOLEANS = {"true": True, "1": True, "false": False, "0": False}
_UNSIGNED = {FieldDescriptor.CPPTYPE_UINT32: 2**32 - 1, FieldDescriptor.CPPTYPE_UINT64: 2**64 - 1}
_SIGNED = {FieldDescriptor.CPPTYPE_INT32: 2**31 - 1, FieldDescriptor.CPPTYPE_INT64: 2**63 - 1}
_NUMBERS = (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT)
_DIGITS = re.compile("-?[0-9]{1,20}")
_DECIMAL = re.compile(r"-?[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+)?|NaN|-?Infinity")
_TIME = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T([0-9]{2}:){2}[0-9]{2}(\.[0-9]{1,9})?"
    r"(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])"
)
_HALF = re.compile("[\ud800-\udfff]")
_TEXT = common_pb2.Input.DESCRIPTOR.fields_by_name["text"].full_name
_ROW_NAMES = ("digests", "ids")
"""Lists of strings whose items are rows, and may fail alone."""
_SHOWN = 100


def read_json(
    request_class: type[Message], body: bytes, bound: Mapping[str, Any], max_parts: int = BASE_PARTS
) -> Message:
    """Reads a JSON object as a message.

    Args:
        bound: fields that the path or the query string has set already.
        max_parts: values that the body may have.

    Raises:
        InvalidRequest: the body is not such an object, has more values, or sets a bound field
            otherwise.
    """
    return read_message(request_class, bind(request_class, read_object(body, max_parts), bound))


def bind(request_class: type[Message], data: Json, bound: Mapping[str, Any]) -> Json:
    """Returns the object with the fields that the path and the query string have set.

    Raises:
        InvalidRequest: it sets one of them to something else.
    """
    fields = _fields(request_class.DESCRIPTOR)
    for name, value in list(data.items()):
        field = fields.get(name)
        if field is None or field.name not in bound:
            continue
        if str(value) != str(bound[field.name]):  # a query string has numbers as strings
            raise InvalidRequest(
                f"{field.name}: must be the path's or query's {bound[field.name]}, "
                f"is {_shown(value)}",
                field=field.name,
                limit=bound[field.name],
                value=value,
            )
        del data[name]
    data.update(bound)
    return data


def read_message(request_class: type[Message], data: Mapping[str, Any]) -> Message:
    """Makes a message of an object's fields, whose names may be snake_case or lowerCamelCase.

    Half of a surrogate pair costs the row that it is in, and a request where it is in none.

    Raises:
        InvalidRequest: naming the path of the field at fault.
    """
    message = request_class()
    _fill(message, data, "", in_row=False)
    return message


def check_names(data: Mapping[str, Any], names: Sequence[str], kind: str) -> None:
    """Checks that an object has no other fields than these.

    Raises:
        InvalidRequest: it has, naming one.
    """
    for name in data:
        if name not in names:
            raise _unknown(name, name, names, kind)


def read_strings(request_class: type[Message], pairs: Iterable[tuple[str, str]]) -> Json:
    """Reads what a query string or form says, by the fields' names, as JSON has it.

    Raises:
        InvalidRequest: there is no such field, it is set twice, or is no boolean and has to be one.
    """
    fields = _fields(request_class.DESCRIPTOR)
    read: Json = {}
    for name, value in pairs:
        field = fields.get(name)
        if field is None:
            raise _no_field(name, name, request_class.DESCRIPTOR)
        if field.is_repeated:
            read.setdefault(field.name, []).append(value)
        elif field.name in read:
            raise _twice(field.name)
        else:
            read[field.name] = _boolean(field, value) if _is_boolean(field) else value
    return read


def _is_boolean(field: FieldDescriptor) -> bool:
    return field.cpp_type == FieldDescriptor.CPPTYPE_BOOL


def _boolean(field: FieldDescriptor, value: str) -> bool:
    if value.lower() not in _BOOLEANS:
        raise _wrong(field.name, _wanted(field), value)
    return _BOOLEANS[value.lower()]


def _fill(message: Message, data: Any, path: str, *, in_row: bool) -> None:
    """Sets a message's fields from an object; `in_row`: it is one of a list."""
    if not isinstance(data, Mapping):
        raise _wrong(path, "an object", data)
    prefix = f"{path}." if path else ""
    if isinstance(data, Repeating):
        raise _twice(prefix + data.repeated)
    fields = _fields(message.DESCRIPTOR)
    seen: set[str] = set()
    for name, value in data.items():
        field = fields.get(name)
        if field is None:
            raise _no_field(prefix + name, name, message.DESCRIPTOR)
        if field.name in seen:
            raise _twice(prefix + field.name)
        seen.add(field.name)
        if value is None:  # as proto's JSON has it: not set
            continue
        _check_alone(message, field, path)
        _set(message, field, value, prefix + field.name, in_row=in_row)


def _check_alone(message: Message, field: FieldDescriptor, path: str) -> None:
    """Refuses a second field where only one may be."""
    choice = field.containing_oneof
    other = message.WhichOneof(choice.name) if choice is not None else None
    if other is None or choice is None:
        return
    names = ", ".join(each.name for each in choice.fields)
    raise InvalidRequest(
        f"{path or field.name}: takes one of {names}, has {other} and {field.name}",
        field=path or field.name,
        limit=f"one of {names}",
        value=f"{other} and {field.name}",
    )


def _set(message: Message, field: FieldDescriptor, value: Any, path: str, *, in_row: bool) -> None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        _set_entries(getattr(message, field.name), field.message_type, value, path)
    elif field.is_repeated:
        if not isinstance(value, list):
            raise _wrong(path, "an array", value)
        target = getattr(message, field.name)
        for row, item in enumerate(value):
            if field.message_type is not None:
                _fill(target.add(), item, f"{path}[{row}]", in_row=True)
            else:
                alone = field.name in _ROW_NAMES
                target.append(_value(field, item, f"{path}[{row}]", in_row=alone))
    elif field.message_type is Timestamp.DESCRIPTOR:
        getattr(message, field.name).CopyFrom(_time(value, path))
    elif field.message_type is not None:
        inner = getattr(message, field.name)
        inner.SetInParent()
        _fill(inner, value, path, in_row=in_row)
    elif in_row and field.full_name == _TEXT and isinstance(value, str) and _HALF.search(value):
        setattr(message, "text_utf8", value.encode("utf-8", "surrogatepass"))  # noqa: B010
    else:
        setattr(message, field.name, _value(field, value, path, in_row=in_row))


def _time(value: Any, path: str) -> Timestamp:
    """Reads a time as RFC 3339 writes it."""
    read = Timestamp()
    try:
        if isinstance(value, str) and _TIME.fullmatch(value):
            read.FromJsonString(value)
            return read
    except ValueError:  # there is no such day or hour
        pass
    raise _wrong(path, "a time such as 2026-01-31T09:00:00Z", value)


def _set_entries(target: Any, entry: Any, value: Any, path: str) -> None:
    if not isinstance(value, Mapping):
        raise _wrong(path, "an object", value)
    if isinstance(value, Repeating):
        raise _twice(f"{path}.{value.repeated}")
    names, values = entry.fields_by_name["key"], entry.fields_by_name["value"]
    for name, item in value.items():
        place = f"{path}.{name}"
        target[_value(names, name, place, in_row=False)] = _value(values, item, place, in_row=False)


def _value(field: FieldDescriptor, value: Any, path: str, *, in_row: bool) -> Any:
    """Returns the value of a field that is no message."""
    kind = field.cpp_type
    read: Any = None
    if field.enum_type is not None:
        read = _enum_number(field.enum_type, value)
    elif kind == FieldDescriptor.CPPTYPE_BOOL:
        read = value if isinstance(value, bool) else None
    elif kind in _NUMBERS:
        read = _number(field, value)
    elif kind in _UNSIGNED or kind in _SIGNED:
        read = _whole_number(field, value)
    elif isinstance(value, str):
        if field.type == FieldDescriptor.TYPE_BYTES:
            return read_base64(value, path)
        return _string(value, path, in_row=in_row)
    if read is None:
        raise _wrong(path, _wanted(field), value)
    return read


def _string(value: str, path: str, *, in_row: bool) -> str:
    half = _HALF.search(value)
    if half is None:
        return value
    if in_row:
        return _HALF.sub(NO_CHARACTER, value)
    raise InvalidRequest(
        f"{path}: must be valid Unicode, character {half.start() + 1} is not: half of a surrogate "
        "pair, or bytes that are no UTF-8",
        field=path,
        limit="valid Unicode",
        value=value,
    )


def _enum_number(kind: Any, value: Any) -> int | None:
    """Reads a value of an enum, given by its descriptor."""
    numbers = {each.name: int(each.number) for each in kind.values}
    if isinstance(value, str) and value in numbers:
        return numbers[value]
    number = int(value) if isinstance(value, str) and _DIGITS.fullmatch(value) else value
    known = isinstance(number, int) and not isinstance(number, bool)
    return number if known and number in numbers.values() else None


def _whole_number(field: FieldDescriptor, value: Any) -> int | None:
    if isinstance(value, str) and _DIGITS.fullmatch(value):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    lowest, highest = _range(field)
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if lowest <= value <= highest else None


def _number(field: FieldDescriptor, value: Any) -> float | None:
    if isinstance(value, str) and _DECIMAL.fullmatch(value):
        value = float(value.replace("Infinity", "inf"))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    number = float(value)
    narrow = field.cpp_type == FieldDescriptor.CPPTYPE_FLOAT and math.isfinite(number)
    return None if narrow and abs(number) > 3.4e38 else number


def _range(field: FieldDescriptor) -> tuple[int, int]:
    if field.cpp_type in _UNSIGNED:
        return 0, _UNSIGNED[field.cpp_type]
    highest = _SIGNED[field.cpp_type]
    return -highest - 1, highest


def _wanted(field: FieldDescriptor) -> str:
    """Describes what a field takes."""
    if field.enum_type is not None:
        return ", ".join(value.name for value in field.enum_type.values)
    if field.cpp_type in _UNSIGNED or field.cpp_type in _SIGNED:
        lowest, highest = _range(field)
        return f"a whole number from {lowest} to {highest}"
    if field.cpp_type in _NUMBERS:
        return "a number"
    if _is_boolean(field):
        return "true or false"
    return "base64" if field.type == FieldDescriptor.TYPE_BYTES else "a string"


def _wrong(path: str, wanted: str, value: Any) -> InvalidRequest:
    single = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return InvalidRequest(
        f"{path}: must be {wanted}, is {_shown(value)}",
        field=path,
        limit=wanted,
        value=value if single else kind_of(value),
    )


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return repr(value if len(value) <= _SHOWN else value[:_SHOWN] + "…")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    return kind_of(value)


def _twice(path: str) -> InvalidRequest:
    return InvalidRequest(
        f"{path[:_SHOWN]}: is set twice", field=path, limit="once", value="set twice"
    )


def _no_field(path: str, name: str, descriptor: Any) -> InvalidRequest:
    return _unknown(path, name, [field.name for field in descriptor.fields], descriptor.name)


def _unknown(path: str, name: str, names: Sequence[str], kind: str) -> InvalidRequest:
    near = difflib.get_close_matches(name[:_SHOWN], names, 1)
    known = f"did you mean {near[0]}?" if near else f"there are {', '.join(names) or 'none'}"
    return InvalidRequest(
        f"{path[:_SHOWN]}: is no field of {kind}; {known}",
        field=path,
        limit=", ".join(names),
        value=name,
    )


@functools.lru_cache(maxsize=256)
def _fields(descriptor: Any) -> Mapping[str, FieldDescriptor]:
    """Returns the fields under both of their names."""
    named = {field.name: field for field in descriptor.fields}
    return {field.json_name: field for field in descriptor.fields} | named
