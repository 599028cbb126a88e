"""Folders that are plainly laid out in another way than with one sub-folder per class."""

import re
import shlex
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from trunkline.datasets.notes import Notes
from trunkline.errors import DatasetError
from trunkline.wording import counted

_WORD = re.compile("[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_TRAIN = frozenset({"train", "training", "trn", "trainset", "traindata", "trainval"})
_TEST = frozenset(
    {"test", "testing", "tst", "testset", "testdata", "eval", "evaluation"}
    | {"holdout", "heldout", "hold", "held"}
)
_VALIDATION = frozenset(
    {"val", "valid", "validate", "validation", "valset", "dev", "devel", "devset"}
)
_UNLABELLED = frozenset({"unlabeled", "unlabelled", "unsup", "labeled", "labelled"})
_CALIBRATION = frozenset({"calibration", "calib"})
_SPLITS = _TRAIN | _TEST | _VALIDATION | _UNLABELLED | _CALIBRATION
_FILLERS = frozenset(
    {"set", "data", "dataset", "images", "image", "imgs", "img", "photos", "pictures", "split"}
    | {"out", "new", "final", *"abcdefghijklmnopqrstuvwxyz"}
)
_PART = re.compile(
    r"(19|20)\d\d([-_. ]?\d\d){0,2}"
    r"|(fold|part|batch|session|round|subset|chunk|shard|split|set|day|week|month|year|run)"
    r"[-_ ]?[0-9a-z]{1,4}"
)
_SAME_KIND = re.compile(r"(fold|part|batch|subset|chunk|shard|split)[-_ ]?[0-9a-z]{1,4}")
_CONTAINERS = frozenset(
    {"image", "images", "img", "imgs", "jpegimages", "photos", "pictures", "data", "dataset"}
    | {"mask", "masks", "labels", "annotations", "segmentation", "thumbs", "thumbnails"}
)


@dataclass(frozen=True)
class Shape:
    """What lies in a folder itself: whether images do, and which folders."""

    path: Path
    holds_images: bool
    folders: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The folder's name."""
        return self.path.name

    @property
    def nested(self) -> bool:
        """Whether what it holds lies in two or more folders."""
        return len(self.folders) > 1 and not self.holds_images


def check_layout(
    root: Path,
    shapes: Sequence[Shape],
    tables: Sequence[Path],
    look: Callable[[Path], Shape],
    notes: Notes,
) -> None:
    """Refuses folders below `root` that are no classes; `look` says what lies in another folder.

    Where the outer folders may be the classes, and the inner ones as well, `notes` says which were
    taken. Raises `DatasetError` with the call that is meant.
    """
    if tables and len(shapes) < 2 and not (shapes and shapes[0].nested):
        raise DatasetError(
            f"{root}: no class folders, but a table, which may be meant: {_call(tables)}"
        )
    _refuse_splits(root, shapes)
    if len(shapes) == 1:
        _refuse_outer_level(root, shapes[0], look)
    if len(shapes) > 1 and all(shape.name.casefold() in _CONTAINERS for shape in shapes):
        raise DatasetError(
            f"{root}: {_listed(shapes)} look like kinds of files, not like classes; one folder "
            "per class is expected, or a table with a path and a label in each row"
        )
    if len(shapes) > 1 and all(_SAME_KIND.fullmatch(shape.name.casefold()) for shape in shapes):
        words = f"the classes are named like parts of the data ({_listed(shapes)})"
        notes.add("layout", str(root), words)
    _look_below(root, shapes, notes)


def _refuse_splits(root: Path, shapes: Sequence[Shape]) -> None:
    splits = _splits_among(shapes)
    plain = len(splits) == len(shapes) or any(shape.nested for shape in splits)
    if len(splits) < 2 or not plain:
        return
    found = f"{root}: {_listed(splits)} look like splits of the data, not like classes"
    labelled = [shape for shape in splits if shape.folders and not shape.holds_images]
    if not labelled:
        raise DatasetError(f"{found}, and hold no class folders; one per class is expected in each")
    call = _call([shape.path for shape in labelled])
    raise DatasetError(f"{found}; name the one to read, such as: {call}")


def _splits_among(shapes: Sequence[Shape]) -> list[Shape]:
    """Returns the folders that are splits by their names, such as `train`.

    The rest of their names may be anything, if it is the same in all: `cats_train`, `cats_test`.
    """
    plain = [shape for shape in shapes if is_split(shape.name)]
    rests = {shape: _words(shape.name) - _SPLITS - _FILLERS for shape in shapes}
    named = [shape for shape in shapes if _words(shape.name) & _SPLITS]
    alike = len(named) > 1 and all(rests[shape] == rests[named[0]] for shape in named)
    return named if alike else plain


def _refuse_outer_level(root: Path, only: Shape, look: Callable[[Path], Shape]) -> None:
    """Refuses a single class whose sub-folders are the classes, at whatever depth they lie."""
    inner = only
    while len(inner.folders) == 1 and not inner.holds_images:
        inner = look(inner.folders[0])
    if not inner.nested or all(_PART.fullmatch(row.name.casefold()) for row in inner.folders):
        return
    _refuse_splits(inner.path, [look(folder) for folder in inner.folders])
    raise DatasetError(
        f"{root}: holds one folder, {only.name}, and the classes seem to lie deeper "
        f"({_listed([look(folder) for folder in inner.folders])}): "
        f"{_call([inner.path])}"
    )


def _look_below(root: Path, shapes: Sequence[Shape], notes: Notes) -> None:
    """Compares the folders in the class folders: the same ones in each may be the classes."""
    if len(shapes) < 2 or not all(shape.nested for shape in shapes):
        return
    counts = Counter(folder.name for shape in shapes for folder in shape.folders)
    shared = sorted(name for name, count in counts.items() if count > 1)
    if any(
        2 * sum(counts[row.name] > 1 for row in shape.folders) < len(shape.folders)
        for shape in shapes
    ):
        return
    inner = ", ".join(shared[:3]) + (", …" if len(shared) > 3 else "")
    parts = all(_PART.fullmatch(shape.name.casefold()) for shape in shapes)
    if parts and not all(_PART.fullmatch(name.casefold()) for name in shared):
        raise DatasetError(
            f"{root}: {_listed(shapes)} look like parts of the data, not like classes, as each "
            f"holds {inner}; read them one after the other, beginning with: "
            f"{_call([shapes[0].path])}"
        )
    kind = "splits, which are not told apart" if all(map(is_split, shared)) else "the same folders"
    notes.add(
        "layout",
        str(root),
        f"the {counted(len(shapes), 'class', 'classes')} ({_listed(shapes)}) hold {kind} "
        f"({inner}); the outer folders are taken as the classes",
    )


def _call(paths: Sequence[Path]) -> str:
    """Writes the call that trains on the path named so, and tests on another one, if one is."""
    trained = next((path for path in paths if _words(path.stem) & _TRAIN), paths[0])
    others = [path for path in paths if path is not trained]
    tested = [
        path for words in (_TEST, _VALIDATION) for path in others if _words(path.stem) & words
    ]
    call = f"trunkline train TENANT/HEAD {shlex.quote(str(trained))}"
    return f"{call} --test {shlex.quote(str(tested[0]))}" if tested else call


def is_split(name: str) -> bool:
    """Returns whether a folder's name says that it is a part of the data, for training or test."""
    words = _words(name)
    return bool(words & _SPLITS) and words <= _SPLITS | _FILLERS


def _words(name: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(name)}


def _listed(shapes: Sequence[Shape]) -> str:
    names = [shape.name for shape in shapes]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
