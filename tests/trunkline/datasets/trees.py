"""Folders to read, and what reading them gives."""

from pathlib import Path

from trunkline import Image
from trunkline.datasets import Notes, read_examples
from trunkline.values.notices import Notice


def tree(root: Path, *files: str) -> Path:
    """Writes these files, each with a content of its own."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(file.encode())
    return root


def read_tree(root: Path) -> tuple[list[tuple[str, str | None]], dict[str, Notice]]:
    """Reads a folder's examples; returns (path below the root, label), and notices by reason."""
    notes = Notes()
    rows = [
        (item.input.path.relative_to(root).as_posix(), item.label)
        for item in read_examples(root, notes=notes)
        if isinstance(item.input, Image) and item.input.path
    ]
    return rows, {notice.reason: notice for notice in notes.notices()}
