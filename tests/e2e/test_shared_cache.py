"""Servers with a shared cache, as processes: restarted, killed, and left alone by it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.e2e.conftest import Start
from tests.e2e.metrics import samples
from tests.e2e.processes import Running, serve_command
from tests.service.shared.valkey import BOUNDED, Valkey
from trunkline import Embedding

PASSWORD = "s3cr3t-of-the-cache"
WORDS = [f"a sentence about the number {i}" for i in range(12)]
TEXTS = ("--backbone", "minilm/l6-v2")

pytestmark = [pytest.mark.e2e, pytest.mark.long]


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        server = Valkey(Path(folder), *BOUNDED, "--requirepass", PASSWORD)
        server.start()
        yield server
        server.kill()


def embedded(server: Running, words: list[str]) -> NDArray[np.float32]:
    with server.client() as client:
        rows = client.embed("acme", words)
    assert all(isinstance(row, Embedding) for row in rows)
    return np.stack([np.array(row.vector) for row in rows if isinstance(row, Embedding)])


def found(server: Running) -> float:
    with server.http() as http:
        return samples(http, "trunkline_shared_cache_lookups_total", outcome="hit")


def test_servers_come_and_go_and_the_cache_too_and_every_answer_is_right(
    start: Start, tmp_path: Path, valkey: Valkey
) -> None:
    command = serve_command(tmp_path / "data", *TEXTS, "--shared-cache-timeout-ms", "2000")
    variables = {"TRUNKLINE_SHARED_CACHE": f"unix://:{PASSWORD}@{valkey.socket}"}
    one = start(command, **variables)
    with one.client() as client:
        client.create_head("acme/defects", backbone="minilm/l6-v2")
    right = embedded(one, WORDS)
    assert one.terminate() == 0

    two = start(command, **variables)
    assert np.array_equal(embedded(two, WORDS), right)
    assert found(two) == len(WORDS)
    with valkey.held():
        assert np.array_equal(embedded(two, WORDS), right)  # they are in memory
        assert embedded(two, ["a new one"]).shape == (1, right.shape[1])
    valkey.kill()
    assert embedded(two, ["another one"]).shape == (1, right.shape[1])
    with two.http() as http:
        assert http.get("/readyz").status_code == 200
        assert samples(http, "trunkline_shared_cache_up") == 0
    two.kill()

    three = start(command, **variables)
    assert np.allclose(embedded(three, WORDS), right, atol=1e-5)
    valkey.start()
    three.kill()
    four = start(command, **variables)
    again = embedded(four, WORDS)
    assert np.allclose(again, right, atol=1e-5)
    assert four.terminate() == 0
    five = start(command, **variables)
    assert np.array_equal(embedded(five, WORDS), again)
    assert found(five) == len(WORDS)
    for server in (one, two, three, four, five):
        assert PASSWORD not in server.log.read_text()
