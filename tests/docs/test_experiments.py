"""The experiments run, small, against a real server."""

from __future__ import annotations

import pytest

from tests.docs.programs import output_of
from tests.e2e.processes import ROOT, Running

pytestmark = pytest.mark.e2e

FOLDER = ROOT / "examples" / "experiments"
SHARED = {"shared.py", "small_network.py"}
"""Parts of the programs, which do not run on their own."""

ROWS = {
    "backbones.py": ("most frequent class", "untrained/resnet18", "efficientnet/lite0"),
    "direct_or_transfer.py": ("| 60 |",),
    "freezing.py": ("none", "last_block"),
    "new_classes.py": ("from scratch", "its convolutions, frozen", "augmented", "fine-tuned"),
}
"""What the programs' tables must hold."""

LONG = {"backbones.py", "direct_or_transfer.py", "freezing.py", "new_classes.py"}
"""They take long by their nature."""


def test_every_experiment_is_tested() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} - SHARED == set(ROWS)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.long] * (name in LONG)) for name in sorted(ROWS)],
)
def test_experiment_prints_its_table(name: str, server: Running) -> None:
    options = ("--server", server.grpc, "--quick", "--seeds", "1")
    printed = output_of(FOLDER / name, *options)
    table = [line for line in printed.splitlines() if line.startswith("| ")]
    for row in ROWS[name]:
        assert any(row in line for line in table), printed
