"""What a person calls an input, instead of its digest."""

from collections.abc import Iterable
from pathlib import Path

from trunkline.cli.output import one_line, short_digest
from trunkline.datasets import FileInput
from trunkline.errors import InvalidArgument
from trunkline.values.inputs import Image, Input, Text
from trunkline.values.outcomes import Neighbour
from trunkline.values.unreadable import Unreadable

_SHOWN_TEXT = 60


def input_name(item: Input) -> str:
    """Returns what a person calls the input: its path or place, the text itself, or its digest."""
    match item:
        case Unreadable():
            return item.where
        case Image(path=Path() as path) | Text(path=Path() as path):
            return str(path)
        case Text(text=str() as text):
            return text
        case Text(text=data):
            return data.decode(errors="replace") if isinstance(data, bytes) else str(data)
    return short_digest(item.digest())


def shown_name(item: Input) -> str:
    """Returns the name in one line, not too long."""
    name = one_line(input_name(item))
    long = isinstance(item, Text) and not item.path and len(name) > _SHOWN_TEXT
    return name[: _SHOWN_TEXT - 1] + "…" if long else name


def kept_name(kept: Input | None, external_id: str | None) -> str | None:
    """Returns what a person calls an input without its file: what it says, or its id."""
    called = one_line(external_id or "")
    if isinstance(kept, Text):
        text = shown_name(kept)
        return f"{text} ({called})" if called else text
    return called or None


def found_at(item: Input) -> str:
    """Returns where a person finds the input: file and line of a table's text, else its name."""
    return item.where if isinstance(item, Text) and item.where else shown_name(item)


def digest_of(item: Input) -> str | None:
    """Returns the digest of an input; None for one that cannot be read."""
    try:
        return item.digest()
    except (OSError, InvalidArgument):
        return None


def names_of(inputs: Iterable[FileInput]) -> dict[str, str]:
    """Returns the names of inputs by their digests; those that cannot be read have none."""
    named = ((digest_of(item), item) for item in inputs)
    return {digest: shown_name(item) for digest, item in named if digest}


def neighbour_words(one: Neighbour) -> str:
    """Says what a near example is: its class, how near it is, and its name."""
    name = one_line(one.external_id or short_digest(one.digest))
    return f"{one.label} ({one.similarity:.4f}, {name})"
