"""What inputs are called where they lie: the external ids that uploads of files give examples."""

from pathlib import Path

from trunkline.datasets.notes import Notes
from trunkline.labels import visible
from trunkline.values.inputs import Image, Text

MOST_BYTES = 256
"""No server takes longer ones."""


def name_below(root: Path, item: object, notes: Notes) -> str | None:
    """Returns a file's path below the folder, or as its table has it; FILE:LINE of a table's text.

    None for any other input. A name that is too long loses its beginning, and what no message or
    terminal should carry has a mark in its place; `notes` learns of both.

    Args:
        root: the folder or table that the input was read from.
        item: an input.
        notes: of what was changed.
    """
    match item:
        case Image(path=Path() as path):
            folder = root if root.is_dir() else root.parent
            name = (path.relative_to(folder) if path.is_relative_to(folder) else path).as_posix()
        case Text(where=str() as where):
            name = root.name + where.removeprefix(str(root))
        case _:
            return None
    possible = _possible(name)
    if possible != name:
        notes.add("name_changed", possible)
    return possible


def _possible(name: str) -> str:
    """Returns the name, or what of it an example can have."""
    found = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    data = visible(found).replace("\uffff", "\ufffd").encode()
    if len(data) <= MOST_BYTES:
        return data.decode()
    mark = "…"
    return mark + data[len(mark.encode()) - MOST_BYTES :].decode(errors="ignore")
