"""Messages of any type, and files that are nearly in order: strategies for hypothesis."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

DEPTH = 4
MOST = 3
"""Of a repeated field, and of places in a file that are changed."""

_NUMBERS: Mapping[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT32: st.integers(0, 3) | st.integers(0, 2**32 - 1),
    FieldDescriptor.CPPTYPE_UINT64: st.integers(0, 2**64 - 1),
    FieldDescriptor.CPPTYPE_DOUBLE: st.floats() | st.floats(0, 1),
    FieldDescriptor.CPPTYPE_FLOAT: st.floats(width=32),
    FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    FieldDescriptor.CPPTYPE_ENUM: st.integers(0, 4) | st.integers(-(2**31), 2**31 - 1),
}


def messages(
    kind: Descriptor, words: Mapping[str, Sequence[str]], depth: int = DEPTH
) -> st.SearchStrategy[Message]:
    """Any message of a type.

    Args:
        words: what strings in fields of a name are in most cases; in those of no such name, the
            words of "".
        depth: of messages in messages.
    """
    fields = {field.name: _field(field, words, depth) for field in kind.fields}
    made: st.SearchStrategy[Message] = st.fixed_dictionaries(
        {name: value for name, value in fields.items() if value is not None and name in words},
        optional={
            name: value for name, value in fields.items() if value is not None and name not in words
        },
    ).map(lambda given: GetMessageClass(kind)(**given))
    return made


def changed(files: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """A file, some bytes of which are others, missing or repeated."""

    def change(file: bytes, places: list[tuple[float, bytes, int]]) -> bytes:
        for share, others, skipped in places:
            at = int(share * len(file))
            file = file[:at] + others + file[at + skipped :]
        return file

    place = st.tuples(st.floats(0, 1), st.binary(max_size=6), st.integers(0, 6) | st.just(10**6))
    places = st.lists(place, max_size=MOST)
    return st.builds(change, st.sampled_from(files), places)


def _field(
    field: FieldDescriptor, words: Mapping[str, Sequence[str]], depth: int
) -> st.SearchStrategy[Any] | None:
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        keys, values = (_one(entry, words, depth) for entry in field.message_type.fields)
        if keys is None or values is None:
            return None
        return st.dictionaries(keys, values, max_size=MOST)
    one = _one(field, words, depth)
    if one is not None and field.is_repeated:
        return st.lists(one, max_size=MOST)
    return one


def _one(
    field: FieldDescriptor, words: Mapping[str, Sequence[str]], depth: int
) -> st.SearchStrategy[Any] | None:
    if field.message_type is not None:
        return messages(field.message_type, words, depth - 1) if depth else None
    if field.type == FieldDescriptor.TYPE_BYTES:
        return st.binary(max_size=60)
    if field.type == FieldDescriptor.TYPE_STRING:
        known = st.sampled_from(list(words.get(field.name, words[""])))
        return st.one_of(known, known, known, st.text(max_size=40))
    return _NUMBERS[field.cpp_type]
