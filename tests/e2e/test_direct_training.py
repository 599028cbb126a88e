"""The lines that an advice gives for direct training do what it measured."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import Cli
from tests.e2e.samples import digit_images, short_texts

NEAR = 0.06
"""Other folds give other accuracies: of some 300 examples, within two standard errors."""


def measured_and_printed(cli: Cli, data: Path, folder: Path) -> tuple[float, float]:
    """The accuracy that the advice tells of direct training, and what its lines print."""
    advice = json.loads(cli("advise", data, "--json").stdout)
    (direct,) = (row["estimate"] for row in advice["options"] if row["name"] == "direct")
    ran = subprocess.run(
        [sys.executable, "-c", advice["direct_code"]],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return direct["accuracy"], float(ran.stdout)


@pytest.mark.long
def test_lines_for_a_folder_of_pictures(cli: Cli, tmp_path: Path) -> None:
    for number, (data, label) in enumerate(digit_images(300, 10)):
        path = tmp_path / "digits" / label / f"{number:03}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    measured, printed = measured_and_printed(cli, tmp_path / "digits", tmp_path)
    assert measured > 0.85
    assert abs(measured - printed) < NEAR


@pytest.mark.long
def test_lines_for_a_table_of_texts(cli: Cli, tmp_path: Path) -> None:
    table = tmp_path / "moods.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("text", "label"), *short_texts(150)])
    measured, printed = measured_and_printed(cli, table, tmp_path)
    assert measured > 0.55
    assert abs(measured - printed) < NEAR
