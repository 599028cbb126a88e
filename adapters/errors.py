"""What can go wrong in this package.

AdapterError
├── InvalidArgument       names the field, its limit and the value that broke it
│   ├── InvalidSpec       a training specification that cannot be followed
│   ├── InvalidExamples   examples no head can be learned from
│   ├── InvalidEmbeddings embeddings a head cannot score
│   ├── InvalidWeights    bytes or arrays that are no head
│   └── UnknownLabel      a label the head does not have
└── ViewsUnavailable      views that a tuning would try cannot be made
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import LiteralString, Self

Scalar = int | float | str | None


class AdapterError(Exception):
    """Root of every error this package raises on purpose."""


class InvalidArgument(AdapterError):
    """An argument was refused; `field`, `limit` and `value` say which, why and what it was."""

    def __init__(
        self, message: str, *, field: str, limit: Scalar = None, value: Scalar = None
    ) -> None:
        super().__init__(message)
        self.field = field
        self.limit = limit
        self.value = value

    @classmethod
    def at(
        cls, field: str, words: LiteralString, limit: Scalar = None, value: Scalar = None
    ) -> Self:
        """Make an error whose sentence tells no more than its facts do.

        Args:
            words: the sentence, never with anything that was given in it. In it, `{field}`,
                `{limit}` and `{value}` stand for these facts, as in `str.format`.
        """
        message = words.format(field=field, limit=limit, value=value)
        return cls(message, field=field, limit=limit, value=value)

    @classmethod
    def not_finite(cls, field: str, name: str = "") -> Self:
        """Refuse a field that holds NaN or an infinite number, by its name if it has another."""
        return cls(
            f"{name or field} holds a number that is not finite",
            field=field,
            limit="finite",
            value="nan or infinite",
        )

    def __reduce__(self) -> tuple[Callable[..., InvalidArgument], tuple[object, ...]]:
        """Keep the keyword arguments when the error crosses a process boundary."""
        rebuild = partial(type(self), field=self.field, limit=self.limit, value=self.value)
        return rebuild, self.args


class InvalidSpec(InvalidArgument):
    """A training specification that cannot be followed."""


class InvalidExamples(InvalidArgument):
    """Examples no head can be learned from."""


class InvalidEmbeddings(InvalidArgument):
    """Embeddings a head cannot score."""


class InvalidWeights(InvalidArgument):
    """Bytes or arrays that are no head."""


class UnknownLabel(InvalidArgument):
    """A label the head does not have."""


class ViewsUnavailable(AdapterError):
    """Views that a tuning would try cannot be made; it goes on without them."""
