"""The example programs run against a real server."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.programs import output_of
from tests.e2e.processes import ROOT, Running

pytestmark = pytest.mark.e2e

EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
EXPECTED = {
    "image_folder.py": "4 of 4 images held back are right",
    "live_feedback.py": "the live copy stands on 10 examples",
    "rest_texts.py": "TRAINING_STATE_SUCCEEDED: version 1",
    "sklearn_import.py": "tenants/acme/heads/from-sklearn/versions/1: bad, good",
}


def test_every_example_is_tested() -> None:
    assert sorted(EXPECTED) == EXAMPLES


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_does_what_it_says(name: str, server: Running, folder: Path) -> None:
    data = "photos" if name == "image_folder.py" else "reviews.csv"
    address = server.rest if name == "rest_texts.py" else server.grpc
    program = ROOT / "examples" / name
    assert EXPECTED[name] in output_of(program, data, "--server", address, folder=folder)
