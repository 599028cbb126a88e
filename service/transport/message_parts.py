"""How many parts a request has, counted before it is built: each costs many times its bytes."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

from google.protobuf.descriptor import FieldDescriptor

from service.errors import InvalidRequest

BASE_PARTS = 50_000
PARTS_PER_ROW = 16
SMALL_BYTES = 65_536
"""A request of so many bytes has no more parts than may be."""

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_WITH_LENGTH = (FieldDescriptor.CPPTYPE_STRING, FieldDescriptor.CPPTYPE_MESSAGE)


def most_parts(max_rows: int) -> int:
    """Returns how many parts a request may have that may have so many rows."""
    return BASE_PARTS + PARTS_PER_ROW * max_rows


def check_json(text: str, most: int) -> None:
    """Checks how many values JSON text has.

    Raises:
        InvalidRequest: there are more than `most`.
    """
    if len(text) <= SMALL_BYTES or _beginnings(text) <= most:
        return
    plain = text.replace(r"\\", "").replace(r"\"", "")
    # A value has at most two strings, its name and itself; more would be many to split at.
    many = plain.count('"') > 4 * (most + 1)
    if many or _beginnings("".join(plain.split('"')[::2])) > most:
        raise _refusal("body", "values", most)


def check_message(data: bytes, descriptor: Any, most: int) -> None:
    """Checks how many messages, strings and entries the lists and maps of a message have.

    Numbers are not counted: they take no more than four times their bytes.

    Raises:
        InvalidRequest: there are more than `most`.
    """
    if len(data) <= SMALL_BYTES:
        return
    try:
        count = _count(data, 0, len(data), descriptor, most)
    except IndexError:
        return  # it ends amid a field, as whoever parses it will say
    if count > most:
        raise _refusal("request", "parts", most)


class _Field(NamedTuple):
    """A field with parts.

    Attributes:
        repeated: whether each occurrence is a part.
        inner: the message that it is, if there can be parts in it.
    """

    repeated: bool
    inner: Any


def _count(data: bytes, at: int, end: int, descriptor: Any, most: int) -> int:
    """Counts until there are more than `most` (Protocol Buffers, "Encoding")."""
    fields = _fields(descriptor)
    count = 0
    while at < end and count <= most:
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _BYTES:
            size, at = _varint(data, at)
            if (field := fields.get(tag >> 3)) is not None:
                count += field.repeated
                if field.inner is not None:
                    count += _count(data, at, min(at + size, end), field.inner, most - count)
            at += size
        elif kind == _VARINT:
            _, at = _varint(data, at)
        elif kind == _FIXED64:
            at += 8
        elif kind == _FIXED32:
            at += 4
    return count


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := data[at]) & 0x80:
        value |= (byte & 0x7F) << shift
        shift += 7
        at += 1
    return value | byte << shift, at + 1


@functools.lru_cache(maxsize=256)
def _fields(descriptor: Any) -> Mapping[int, _Field]:
    """Returns the fields with parts, by number."""
    fields = {}
    for field in descriptor.fields:
        inner = field.message_type
        inner = inner if inner is not None and _fields(inner) else None
        repeated = field.is_repeated and field.cpp_type in _WITH_LENGTH
        if repeated or inner is not None:
            fields[field.number] = _Field(repeated, inner)
    return fields


def _beginnings(text: str) -> int:
    """Returns how often an object, a list, or a further item of one begins."""
    return sum(map(text.count, "{[,"))


def _refusal(field: str, kind: str, most: int) -> InvalidRequest:
    return InvalidRequest(
        f"{field}: at most {most} {kind}, has more",
        field=field,
        limit=most,
        value=f"more than {most}",
    )
