"""Names as they go over the wire, from what a person types.

Heads and tenants are given as `acme/defects` and `acme`, or by their full names.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import TypeVar

from trunkline.errors import InvalidArgument
from trunkline.resources import HeadName, InvalidName, KeyName, TenantName, VersionName
from trunkline.values.foreign import wrong_type

E = TypeVar("E", bound=StrEnum)
T = TypeVar("T")


def head_name(text: str) -> HeadName:
    """Reads a head's name. Raises `InvalidArgument`."""
    return _read(HeadName.read, text, "head")


def tenant_name(text: str) -> TenantName:
    """Reads a tenant's name. Raises `InvalidArgument`."""
    return _read(TenantName.read, text, "tenant")


def key_name(text: str) -> KeyName:
    """Reads a key's name, or its id. Raises `InvalidArgument`."""
    return _read(KeyName.read, text, "name")


def _read(read: Callable[[str], T], text: object, field: str) -> T:
    if not isinstance(text, str):
        raise wrong_type(text, field, "a str")
    try:
        return read(text)
    except InvalidName as error:
        raise invalid(error) from error


def version_name(head: str, version: int | None) -> VersionName:
    """Returns a version's name; None for the active one. Raises `InvalidArgument`."""
    try:
        return head_name(head).version(version)
    except InvalidName as error:
        raise invalid(error) from error


def one_of(kind: type[E], value: str, *, field: str) -> E:
    """Returns the member that `value` is or names. Raises `InvalidArgument`."""
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(kind)
        raise InvalidArgument(
            f"{field} must be one of {known}, is {value!r}",
            field=field,
            limit=known,
            value=str(value),
        ) from error


def invalid(error: InvalidName) -> InvalidArgument:
    """Returns the error of the client's own tree that a name's error stands for."""
    return InvalidArgument(str(error), field=error.field, limit=error.limit, value=error.value)
