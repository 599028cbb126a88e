from pathlib import Path

import pytest

from tests.trunkline.steps import Run
from trunkline import Client


@pytest.fixture
def unlabelled(run: Run, client: Client, table: Path) -> list[str]:
    """A trained head with the labels no and yes, and texts that nobody has labelled."""
    assert run("train", "acme/mood", table).exit_code == 0
    texts = [f"text {number}" for number in range(12)]
    client.add_examples("acme/mood", [(text, None) for text in texts])
    return texts
