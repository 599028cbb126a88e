"""Dataclasses from the JSON that `dataclasses.asdict` and `json` make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import is_dataclass
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")


def read(kind: Callable[..., T], data: Mapping[str, Any]) -> T:
    """Read a dataclass, also after a trip through JSON text; what is missing takes its default.

    Raises:
        TypeError: a field has no value and no default, or a value has no field.
    """
    hints = _hints(kind)
    return kind(**{name: _value(hints.get(name), value) for name, value in data.items()})


_hints = cache(get_type_hints)


def _value(hint: Any, value: Any) -> Any:
    """Read a value of this type: JSON has objects for dataclasses, and lists for tuples."""
    parts = get_args(hint)
    if value is None and NoneType in parts:
        return None
    if get_origin(hint) is tuple:
        return tuple(_value(parts[0], item) for item in value)
    kind: Any = next(filter(is_dataclass, (hint, *parts)), None)
    return value if kind is None else read(kind, value)
