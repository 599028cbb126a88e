"""Reading messages: a value is read from the message that has fields of the same names."""

import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from datetime import UTC, datetime
from enum import Enum
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

from google.protobuf.descriptor import EnumDescriptor
from google.protobuf.message import Message

from trunkline.errors import DataLoss

T = TypeVar("T")
E = TypeVar("E", bound=Enum)


def read(kind: Callable[..., T], message: Message, **given: Any) -> T:
    """Reads a value of this dataclass from a message, by the types of its fields.

    Messages become values, repeated fields tuples, maps dicts, timestamps times in UTC, and numbers
    of enums the members of the same name. What the message does not have, or has at zero where
    nobody can tell that from missing, is the field's default; without one it is None if its type
    allows that, else zero or empty.

    Args:
        given: fields that the message does not have, or that are read in another way.

    Raises:
        DataLoss: an enum has a number that this client does not know.
    """
    values = {
        field.name: _value(field, message) for field in _fields(kind) if field.name not in given
    }
    return kind(**values, **given)


def member(kind: type[E], enum: EnumDescriptor, number: int) -> E:
    """Reads the member of `kind` that a number of `enum` stands for.

    Raises:
        DataLoss: this client does not know it.
    """
    found = enum.values_by_number.get(number)
    name = found.name.removeprefix(_prefix(enum)) if found else ""
    if name not in kind.__members__:
        words = re.sub("(?<=[a-z])(?=[A-Z])", " ", kind.__name__).lower()
        raise DataLoss(f"unknown {words}: {number}")
    return kind[name]


def _prefix(enum: EnumDescriptor) -> str:
    """Returns what all names of the enum begin with; the first one ends with `UNSPECIFIED`."""
    return str(enum.values[0].name).removesuffix("UNSPECIFIED")


@dataclass(frozen=True)
class _Field:
    """A field of a dataclass: the type of its value, or of each of them, and what it may lack."""

    name: str
    kind: Any
    optional: bool
    default: Any


@cache
def _fields(kind: Any) -> tuple[_Field, ...]:
    hints = get_type_hints(kind)
    return tuple(
        _Field(
            field.name,
            _item(hints[field.name]),
            NoneType in get_args(hints[field.name]),
            field.default if field.default_factory is MISSING else field.default_factory(),
        )
        for field in fields(kind)
    )


def _item(hint: Any) -> Any:
    """Returns what a tuple, or a type that may be None, is made of; other types as they are."""
    parts = [part for part in get_args(hint) if part not in (NoneType, Ellipsis)]
    return hint if get_origin(hint) is Mapping or not parts else _item(parts[0])


def _value(field: _Field, message: Message) -> Any:
    descriptor = message.DESCRIPTOR.fields_by_name[field.name]
    found = getattr(message, field.name)
    if descriptor.is_repeated:
        if hasattr(found, "items"):
            return dict(found)
        return tuple(_one(field.kind, descriptor.enum_type, item) for item in found)
    if not (message.HasField(field.name) if descriptor.has_presence else found):
        if field.default is not MISSING:
            return field.default
        if field.optional:
            return None
    return _one(field.kind, descriptor.enum_type, found)


def _one(kind: Any, enum: Any, found: Any) -> Any:
    if enum is not None:
        return member(kind, enum, found)
    if kind is datetime:
        return found.ToDatetime(tzinfo=UTC)
    return read(kind, found) if isinstance(found, Message) else found
