"""What is forgotten is gone: from answers, from versions, and from the disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.conftest import TEXTS, Start
from tests.e2e.processes import Running, serve_command
from trunkline import NewExample, Prediction, RowFailure


@pytest.fixture
def forgetful(tmp_path: Path, start: Start) -> Iterator[tuple[Running, Path]]:
    running = start(serve_command(tmp_path / "data", "--backbone", TEXTS))
    yield running, tmp_path / "data"
    assert running.terminate() == 0


@pytest.mark.sqlite_file
def test_forgotten_examples_leave_no_byte_behind(forgetful: tuple[Running, Path]) -> None:
    running, data = forgetful
    secret = "The patient of room seventeen was very happy with the soup."
    named = "wards/seventeen/monday.txt"
    words = ["fine", "grand", "lovely", "splendid", "superb", "poor", "awful", "dire", "bad", "sad"]
    with running.client() as client:
        client.create_head("clinic/mood", TEXTS, keep_inputs=True, policy="immediate")
        texts = [
            (f"The soup was {word}.", "good" if i < 5 else "bad") for i, word in enumerate(words)
        ]
        client.add_examples("clinic/mood", [*texts, NewExample(secret, "good", external_id=named)])
        client.train("clinic/mood")
        (row,) = client.predict("clinic/mood", [secret])
        assert isinstance(row, Prediction)
        client.feedback("clinic/mood", [(secret, "good")])
        vector = client.embed("clinic", [secret], TEXTS)[0]
        assert not isinstance(vector, RowFailure)
        needles = {
            "input": secret.encode(),
            "embedding": bytes(vector.vector),
            "digest": row.digest.encode(),
            "raw digest": bytes.fromhex(row.digest),
            "external id": named.encode(),
        }
        before = content(data)
        assert needles["input"] in before, "the search finds what is there"
        assert needles["external id"] in before
        forgotten = client.forget_examples("clinic/mood", [row.digest])
        assert forgotten.deleted_versions == (1,)
        assert forgotten.version == 2
        left = content(data)
        assert [name for name, needle in needles.items() if needle in left] == []
        assert client.get_head("clinic/mood").labelled_count == 10
        (again,) = client.predict("clinic/mood", [texts[0][0]])
        assert isinstance(again, Prediction)
        assert again.version == 2
        gone = client.delete_tenant("clinic")
        assert (gone.tenant.heads, gone.tenant.examples, gone.versions) == (1, 10, 1)
        left = content(data)
        assert [text for text, _ in texts if text.encode() in left] == []


def content(folder: Path) -> bytes:
    """All bytes of all files, journals included."""
    return b"\n".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())
