"""Messages of records that have fields of the same names."""

from __future__ import annotations

from typing import Any, TypeVar

from google.protobuf.message import Message

M = TypeVar("M", bound=Message)


def message_of(kind: type[M], record: object, **given: Any) -> M:
    """Converts a record to a message, which takes what is not given by the names of its fields.

    Raises:
        AttributeError: a field is not given, and the record has none of its name.
    """
    names = kind.DESCRIPTOR.fields_by_name
    return kind(**{name: getattr(record, name) for name in names if name not in given}, **given)
