"""Building messages: the one place where a value that no message can carry becomes an error."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any, ParamSpec, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from trunkline.errors import InvalidArgument
from trunkline.v1 import common_pb2
from trunkline.values.foreign import wrong_type

P = ParamSpec("P")
M = TypeVar("M", bound=Message)

_SHOWN = 100
_MISFITS = (TypeError, ValueError, OverflowError)
_LIMITS = {
    FieldDescriptor.TYPE_STRING: "Unicode text",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_UINT32: "a whole number from 0 to 4294967295",
    FieldDescriptor.TYPE_UINT64: "a whole number from 0 to 18446744073709551615",
    FieldDescriptor.TYPE_DOUBLE: "a floating-point number",
    FieldDescriptor.TYPE_BOOL: "true or false",
}


def build(kind: Callable[P, M], /, *arguments: P.args, **fields: P.kwargs) -> M:
    """Builds the message of this kind with these fields.

    Raises `InvalidArgument` with the field that cannot hold its value: one of another type, a
    number beyond its range, a string with lone surrogates.
    """
    try:
        return kind(*arguments, **fields)
    except _MISFITS as error:
        raise _invalid(kind, fields, error) from error


def metadata_message(pairs: Mapping[str, str] | None) -> common_pb2.Metadata | None:
    """Builds the message of pairs that are said of an input; None of None.

    Raises `InvalidArgument` for what is no mapping of text to text.
    """
    return None if pairs is None else build(common_pb2.Metadata, pairs=pairs)


def as_timestamp(time: datetime | None, field: str) -> Timestamp | None:
    """Converts a time; one without a time zone is in UTC."""
    if time is None:
        return None
    if not isinstance(time, datetime):
        raise wrong_type(time, field, "a datetime")
    message = Timestamp()
    message.FromDatetime(time)
    return message


def _invalid(kind: Any, fields: Mapping[str, Any], error: Exception) -> InvalidArgument:
    """Finds what is wrong with the first field that does not fit; protobuf does not name it."""
    for name, value in fields.items():
        field = kind.DESCRIPTOR.fields_by_name[name]
        for part, blamed in _parts(field, value):
            if not _fits(kind, name, part):
                limit, shown = _limit(field), _shown(blamed)
                return InvalidArgument(
                    f"{name} must be {limit}, is {shown}", field=name, limit=limit, value=shown
                )
    return InvalidArgument(str(error))


def _parts(field: FieldDescriptor, value: Any) -> Iterator[tuple[Any, Any]]:
    """Splits the field's value into values of one item each, with the item to blame."""
    if field.is_repeated and isinstance(value, Mapping):
        yield from (({key: value[key]},) * 2 for key in value)
    elif field.is_repeated and isinstance(value, list | tuple):
        yield from (([item], item) for item in value)
    else:
        yield value, value


def _fits(kind: Any, name: str, value: Any) -> bool:
    try:
        kind(**{name: value})
    except _MISFITS:
        return False
    return True


def _limit(field: FieldDescriptor) -> str:
    message = field.message_type
    if message is None:
        return _LIMITS[field.type]
    if not message.GetOptions().map_entry:
        return f"a {message.name}"
    key, value = (_LIMITS[message.fields_by_name[part].type] for part in ("key", "value"))
    return f"a mapping of {key} to {value}"


def _shown(value: Any) -> str:
    """Shows a value as ASCII, since a lone surrogate can be printed nowhere."""
    text = ascii(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
