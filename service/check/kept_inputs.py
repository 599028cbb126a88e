"""Kept inputs: what today's decoders refuse, although it was embedded once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from sqlalchemy import Column, Table, func, select

from models import InputLimits, InvalidInput
from models.images import ImagePreprocessor
from service.check.findings import Finding, Store
from service.errors import InvalidRequest
from service.requests.inputs import Kind, read_input
from service.store import schema
from trunkline.v1 import common_pb2
from trunkline.values.notices import Notice

_IDS = 1024
_LARGEST = 2**31 - 1
# What was taken was within the limits of then. Only the pixels' stays: it bounds memory.
_LIMITS = InputLimits(max_image_bytes=_LARGEST, max_side=_LARGEST, max_text_bytes=_LARGEST)
_SIDE = 32
_TOO_LARGE = "image.pixels"


class _Example(NamedTuple):
    digest: str
    label: str | None
    input: bytes
    head: str
    tenant: str


_NUMBERED = (
    (schema.examples, schema.examples.c.id, schema.examples.c.label),
    (schema.captures, schema.captures.c.number, schema.captures.c.judged_label),
)
"""What keeps inputs: its table, its key, and what an input is said to be."""


def kept_inputs(store: Store) -> Iterator[Finding]:
    """Finds kept inputs that are not what their digest says, and images that are refused now."""
    for table, key, label in _NUMBERED:
        yield from _kept_in(store, table, key, label)


def _kept_in(store: Store, table: Table, key: Column[Any], label: Column[Any]) -> Iterator[Finding]:
    decoder, after, done, skipped = ImagePreprocessor(_SIDE, _LIMITS), 0, 0, list[str]()
    one = select(
        table.c.digest, label, table.c.input, schema.heads.c.name, schema.tenants.c.name
    ).select_from(table.join(schema.heads).join(schema.tenants))
    kept = select(key).where(table.c.input.is_not(None))
    total = store.connection.scalar(select(func.count()).select_from(kept.subquery())) or 0
    while ids := store.connection.scalars(kept.where(key > after).order_by(key).limit(_IDS)).all():
        for number in ids:
            store.advance(done, total)
            done += 1
            row = store.connection.execute(one.where(key == number)).one_or_none()
            if row is None or row.input is None:
                continue  # a running server has forgotten it
            example = _Example(*row)
            try:
                words = _fault(example, decoder)
            except InvalidInput:
                skipped.append(example.digest)
                continue
            if words is not None:
                yield _finding(example, words)
        after = ids[-1]
    if skipped:
        words = f"{len(skipped)} kept images have too many pixels to be looked at"
        store.notices.append(Notice("not_checked", words, len(skipped), tuple(skipped)))


def _fault(example: _Example, decoder: ImagePreprocessor) -> str | None:
    """Says what is wrong with an input. Raises InvalidInput where it is too large to say."""
    try:
        raw = read_input(common_pb2.Input.FromString(example.input), _LIMITS)
    except (DecodeError, InvalidRequest) as error:
        return f"its kept input cannot be read: {error}"
    if raw.digest != example.digest:
        return f"its kept input has another digest, {raw.digest}"
    if raw.kind is not Kind.IMAGE:
        return None
    assert isinstance(raw.content, bytes)
    try:
        decoder.prepare(raw.content)
    except InvalidInput as error:
        if error.field == _TOO_LARGE:
            raise
        return f"it was embedded from an image that is refused now: {error}"
    return None


def _finding(example: _Example, words: str) -> Finding:
    head = f"{example.tenant}/{example.head}"
    return Finding(
        words,
        f"trunkline forget {head} {example.digest}, upload the sound file, and train again",
        head,
        digest=example.digest,
        label=example.label,
    )
