"""Folders of images: one sub-folder per class for examples, any for inputs."""

import os
import stat
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum, auto
from pathlib import Path

from trunkline.datasets.labels import read_label
from trunkline.datasets.layouts import Shape, check_layout
from trunkline.datasets.notes import Notes
from trunkline.datasets.table_files import TABLE_SUFFIXES
from trunkline.datasets.text_files import TEXT_SUFFIXES, file_input
from trunkline.errors import DatasetError
from trunkline.values.examples import NewExample
from trunkline.values.inputs import Image, Text
from trunkline.values.unreadable import Unreadable
from trunkline.wording import counted

IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".jfi", ".jif", ".mpo"}
    | {".png", ".apng", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
)
"""Of the formats that the server reads."""

_LITTER = frozenset(
    {".ds_store", "thumbs.db", "ehthumbs.db", "desktop.ini", ".directory", ".localized"}
    | {"__macosx", "@eadir", "$recycle.bin", "system volume information", "lost+found"}
    | {"__pycache__", ".ipynb_checkpoints"}
)


class _Kind(Enum):
    FOLDER = auto()
    FILE = auto()
    UNREADABLE = auto()


@dataclass(frozen=True)
class _Entry:
    """A file or folder that is neither hidden nor litter, and where there is one."""

    path: Path
    kind: _Kind
    identity: tuple[int, int]


def folder_examples(root: Path, notes: Notes) -> Iterator[NewExample]:
    """Reads the examples of a folder with one sub-folder per class, images at any depth in it.

    Raises `DatasetError` for a folder of another layout, with what to do.
    """
    classes = _classes(root, notes)
    labels: set[str] = set()
    for folder in classes:
        label = _class_label(folder, notes)
        if label in labels:
            notes.add("classes_joined", str(folder))
        labels.add(label)
        for item in _class_images(folder, notes):
            yield NewExample(item, label if isinstance(item, Image) else None)


def folder_images(root: Path, notes: Notes) -> Iterator[Image | Text | Unreadable]:
    """Reads all images of a folder, at any depth. Raises `DatasetError` if there are none."""
    return _wanted(root, notes, IMAGE_SUFFIXES, "images")


def folder_texts(root: Path, notes: Notes) -> Iterator[Image | Text | Unreadable]:
    """Reads all texts of a folder, one a file, as `folder_images` reads images."""
    return _wanted(root, notes, TEXT_SUFFIXES, "texts")


def count_files(root: Path, *, texts: bool) -> int:
    """Counts what `folder_images` gives, or `folder_texts`, by the names alone."""
    return sum(1 for _ in _walk(root, Notes(), TEXT_SUFFIXES if texts else IMAGE_SUFFIXES))


def _wanted(
    root: Path, notes: Notes, suffixes: Collection[str], what: str
) -> Iterator[Image | Text | Unreadable]:
    own = Notes()
    found = False
    for file in _walk(root, own, suffixes):
        found = True
        yield file_input(file) if isinstance(file, Path) else file
    if not found:
        said = "".join(f"; {notice.words}" for notice in own.notices())
        listed = ", ".join(sorted(suffixes))
        raise DatasetError(f"{root}: no {what} in this folder ({listed}){said}")
    notes.extend(own)


def _classes(root: Path, notes: Notes) -> list[Path]:
    """Returns the folders of the classes, once the layout looks like one with classes."""
    try:
        entries = list(_entries(root, notes))
    except OSError as error:
        raise DatasetError(f"{root}: cannot be read: {error.strerror}") from error
    above = _above(root) | {_identity(root.stat())}
    folders = []
    for entry in entries:
        if entry.kind is _Kind.UNREADABLE:
            raise DatasetError(f"{entry.path}: cannot be looked at, for want of permission")
        if entry.kind is _Kind.FOLDER and entry.identity in above:
            notes.add("left_out_link", str(entry.path))
        elif entry.kind is _Kind.FOLDER:
            folders.append(entry.path)
    files = [entry.path for entry in entries if entry.kind is _Kind.FILE]
    tables = [path for path in files if path.suffix.lower() in TABLE_SUFFIXES - {".txt", ".json"}]
    check_layout(root, [_shape(folder) for folder in folders], tables, _shape, notes)
    if not folders:
        images = sum(path.suffix.lower() in IMAGE_SUFFIXES for path in files)
        beside = f"{counted(images, 'image')} beside one another and " if images else ""
        raise DatasetError(f"{root}: {beside}no sub-folders; one per class is expected, or a table")
    for path in files:
        notes.add("left_out_place", str(path))
    return folders


def _class_label(folder: Path, notes: Notes) -> str:
    try:
        folder.name.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(folder).decode(errors="replace")
        raise DatasetError(f"{shown}: the name of this class folder is not UTF-8") from None
    try:
        return read_label(folder.name, notes)
    except DatasetError as error:
        raise DatasetError(f"{folder}: cannot be a class: {error.message}") from error


def _class_images(folder: Path, notes: Notes) -> Iterator[Image | Unreadable]:
    """Reads the images of a class. An empty folder is left out; one with other files is no class.

    Raises `DatasetError` for the latter.
    """
    own = Notes()
    found = False
    for file in _walk(folder, own, IMAGE_SUFFIXES):
        found = True
        yield Image.open(file) if isinstance(file, Path) else file
    others = {"left_out_suffix", "left_out_dead_link", "left_out_special"}
    left_out = [notice.words for notice in own.notices() if notice.reason in others]
    if not found and any(notice.names[0].lower().endswith(".txt") for notice in own.notices()):
        left_out.append(
            "texts are read from a table, which has a `label` column, and a `text` column or a "
            "`path` column that names these files"
        )
    if not found and left_out:
        raise DatasetError(
            f"{folder}: no images in this class ({_suffixes()}): {'; '.join(left_out)}; "
            "move the folder away if it is no class"
        )
    if not found:
        notes.add("left_out_empty_class", str(folder))
    notes.extend(own)


def _walk(folder: Path, notes: Notes, suffixes: Collection[str]) -> Iterator[Path | Unreadable]:
    """Finds files by their paths' order. Follows links to folders, each folder once.

    Of a folder that is under way the names alone are held.
    """
    seen = _above(folder)
    under_way = [iter([_Entry(folder, _Kind.FOLDER, _identity(folder.stat()))])]
    while under_way:
        entry = next(under_way[-1], None)
        if entry is None:
            under_way.pop()
        elif entry.kind is _Kind.UNREADABLE:
            yield Unreadable(str(entry.path), "cannot be looked at, for want of permission")
        elif entry.kind is _Kind.FILE:
            suffix = entry.path.suffix.lower()
            if suffix in suffixes:
                yield entry.path
            else:
                notes.add("left_out_suffix", str(entry.path), suffix)
        elif entry.identity in seen:
            notes.add("left_out_link", str(entry.path))
        else:
            seen.add(entry.identity)
            try:
                under_way.append(_entries(entry.path, notes))
            except OSError as error:
                yield Unreadable(str(entry.path), f"cannot read the folder: {error.strerror}")


def _entries(folder: Path, notes: Notes) -> Iterator[_Entry]:
    """Yields what a folder holds, by name, but what is hidden or litter, or leads nowhere.

    Raises `OSError` at once if the folder cannot be read.
    """
    return _looked_at(folder, sorted(os.listdir(folder)), notes)


def _looked_at(folder: Path, names: list[str], notes: Notes) -> Iterator[_Entry]:
    for name in names:
        path = folder / name
        if name.casefold() in _LITTER or name.startswith("._"):
            notes.add("left_out_litter", str(path))
            continue
        if name.startswith("."):
            notes.add("left_out_hidden", str(path))
            continue
        try:
            status = path.stat()
        except OSError:
            if os.path.islink(path):
                notes.add("left_out_dead_link", str(path))
            else:
                yield _Entry(path, _Kind.UNREADABLE, (0, 0))
            continue
        if stat.S_ISDIR(status.st_mode):
            yield _Entry(path, _Kind.FOLDER, _identity(status))
        elif stat.S_ISREG(status.st_mode):
            yield _Entry(path, _Kind.FILE, _identity(status))
        else:
            notes.add("left_out_special", str(path))


def _above(folder: Path) -> set[tuple[int, int]]:
    """Returns the folders that a link must not lead back to."""
    parents = {*folder.absolute().parents, *folder.resolve().parents}
    return {_identity(parent.stat()) for parent in parents}


def _identity(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino


def _shape(folder: Path) -> Shape:
    """Looks at what lies in a folder itself; one that cannot be read is told when it is walked."""
    try:
        entries = list(_entries(folder, Notes()))
    except OSError:
        entries = []
    return Shape(
        folder,
        holds_images=any(
            entry.kind is _Kind.FILE and entry.path.suffix.lower() in IMAGE_SUFFIXES
            for entry in entries
        ),
        folders=tuple(entry.path for entry in entries if entry.kind is _Kind.FOLDER),
    )


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
