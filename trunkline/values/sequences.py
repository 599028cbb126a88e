"""What callers give where many are wanted: taken or refused by its type, never letter by letter."""

import io
from collections.abc import AsyncIterable, Iterable, Iterator, Mapping
from os import PathLike
from typing import Any

from trunkline.errors import InvalidArgument, InvalidType
from trunkline.values.foreign import (
    dtype_of,
    is_array,
    is_picture,
    is_table,
    shape_of,
    type_of,
    wrong_type,
)
from trunkline.values.inputs import Digest, Image, InputLike, Pixels, Text, Vector
from trunkline.values.outcomes import Embedding

_ONE = (str, bytes, bytearray, memoryview, PathLike, Image, Text, Pixels, Vector, Digest, Embedding)

_TEXTS = ("str", "StringDType", "<U", ">U", "U")
"""How dtypes of texts begin."""


def inputs_in(given: Iterable[InputLike]) -> Iterable[Any]:
    """Returns the inputs of a list, an iterator, a column of a table or an array of several.

    Raises `InvalidType` for one input alone, a whole table, and what has no order.
    """
    return _many(given, "inputs", "input", "a list of inputs")


def pairs_in(given: Iterable[Any], what: str) -> Iterator[tuple[Any, Any]]:
    """Yields the pairs of input and label that were given for `what`.

    Raises `InvalidType` for anything else, with its row.
    """
    for row, pair in enumerate(_many(given, what, "pair", "a list of (input, label) pairs")):
        yield pair_of(pair, row)


def examples_in(given: Iterable[Any]) -> Iterable[Any]:
    """Returns what was given as examples, one by one: they are not checked."""
    return _many(given, "items", "example", "a list of NewExamples or (input, label) pairs")


def pair_of(pair: Any, row: int) -> tuple[Any, Any]:
    """Returns a pair of input and label. Raises `InvalidType` for anything else."""
    if isinstance(pair, list | tuple) and len(pair) == 2:
        return pair[0], pair[1]
    length = f" of {len(pair)}" if isinstance(pair, list | tuple) else ""
    raise InvalidType(
        f"row {row} must be a pair (input, label), is {type_of(pair)}{length}; for one alone, give "
        "[(input, label)]",
        field=f"items[{row}]",
        limit="(input, label)",
        value=type(pair).__name__,
    )


def check_label(label: Any, row: int) -> None:
    """Refuses a label that is no text. Raises `InvalidType` with its row, `InvalidArgument`."""
    if not isinstance(label, str):
        raise InvalidType(
            f"label must be a str, is {type_of(label)} (row {row}); give str(label), if so meant",
            field="label",
            limit="Unicode text",
            value=ascii(label)[:100],
        )
    try:
        label.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(
            f"label must be Unicode text, is {ascii(label)[:100]} (row {row})",
            field="label",
            limit="Unicode text",
            value=ascii(label)[:100],
        ) from error


def strings_in(given: Any, field: str) -> list[str]:
    """Returns the strings of a list. Raises `InvalidType` for one string alone."""
    letters = isinstance(given, str | bytes | Mapping) or is_table(given)
    if letters or not isinstance(given, Iterable):
        alone = isinstance(given, str | bytes)
        fix = "for one alone, give it in [brackets]" if alone else None
        raise wrong_type(given, field, "a list of str", fix)
    return list(given)


def file_bytes(given: Any, field: str) -> bytes:
    """Returns a file's bytes. Raises `InvalidType` for its path, and anything else."""
    if isinstance(given, bytes | bytearray | memoryview):
        return bytes(given)
    path = isinstance(given, str | PathLike)
    raise InvalidType(
        f"{field} must be bytes, is {type_of(given)}"
        + ("; for a file, give Path(…).read_bytes()" if path else ""),
        field=field,
        limit="bytes",
        value=ascii(given)[:100],
    )


def _many(given: Any, field: str, one: str, wanted: str) -> Iterable[Any]:
    fix = _fix(given, one)
    if fix is None and isinstance(given, Iterable):
        return given
    raise wrong_type(given, field, wanted, fix)


def _fix(given: Any, one: str) -> str | None:
    """Returns what to give instead; None for what is taken."""
    if isinstance(given, _ONE) or is_picture(given):
        return f"for one {one} alone, give it in [brackets]"
    if is_table(given) and hasattr(given, "collect"):
        return "collect it first, and give its columns"
    if is_table(given):
        columns = 'table["text"]' if one == "input" else 'zip(table["text"], table["label"])'
        return f"give its columns, such as {columns}"
    if isinstance(given, Mapping):
        return "give its .items()" if one != "input" else "give list(….values())"
    if isinstance(given, set | frozenset):
        return "a set has no order to answer in: give a list"
    if isinstance(given, AsyncIterable):
        return "collect it first: [item async for item in …]"
    if isinstance(given, io.IOBase):
        return "give what is in the file"
    return _fix_of_array(given, one) if is_array(given) else None


def _fix_of_array(array: Any, one: str) -> str | None:
    shape, dtype = shape_of(array), dtype_of(array)
    if len(shape) == 0:
        return f"for one {one} alone, give it in [brackets]"
    if dtype.startswith(("S", "|S", "bytes")) and not dtype.startswith("StringDType"):
        return "numpy drops zero bytes at the end of bytes: give a list"
    if one != "input" or dtype in ("object", "O") or dtype.startswith(_TEXTS):
        return None
    if len(shape) == 4 and dtype == "uint8":
        return None
    if len(shape) in (2, 3) and dtype == "uint8":
        return "for one picture alone, give it in [brackets], as [height, width, 3]"
    if len(shape) <= 2 and "float" in dtype:
        return "an embedding needs its fingerprint: give [Vector(fingerprint, row) for row in …]"
    return "pictures are uint8 of shape [height, width, 3]"
