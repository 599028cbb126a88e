"""A running server, and a folder with the files that the pages speak of."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.processes import ROOT, Running, serve_command

REVIEWS = {
    "good": ("works well", "love it", "very good quality", "great, buy again", "solid and pretty"),
    "bad": ("broke at once", "hate it", "poor quality", "never again", "ugly and useless"),
}


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("docs-server")
    catalogue = str(ROOT / "examples/experiments/backbones.toml")
    command = serve_command(folder / "data", "--catalogue", catalogue)
    running = Running.start(command, folder / "log")
    try:
        yield running.wait_until_serving()
    finally:
        running.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """photos/ and photos-held-out/ with the classes good and torn, photos-unlabelled/ without
    classes, new.jpg, reviews.csv."""
    rng = np.random.default_rng(0)
    for folder, count in (("photos", 10), ("photos-held-out", 3)):
        for label in ("good", "torn"):
            for number in range(count):
                save_cloth(tmp_path / folder / label / f"{number}.jpg", rng, torn=label == "torn")
    for number in range(4):
        save_cloth(tmp_path / "photos-unlabelled" / f"{number}.jpg", rng, torn=number % 2 == 0)
    save_cloth(tmp_path / "new.jpg", rng, torn=True)
    write_reviews(tmp_path / "reviews.csv")
    return tmp_path


def save_cloth(path: Path, rng: np.random.Generator, *, torn: bool) -> None:
    """A striped texture, with a black slit across it if it is torn."""
    stripes = 128 + 60 * np.sin(np.arange(128) / 3)[None, :] + rng.normal(0, 12, (128, 128))
    if torn:
        row = int(rng.integers(30, 90))
        stripes[row : row + 12] = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(stripes.clip(0, 255).astype(np.uint8)).save(path)


def write_reviews(path: Path) -> None:
    """A table of five good and five bad texts."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("text", "label"))
        table.writerows((text, label) for label, texts in REVIEWS.items() for text in texts)
