"""A backup of a server under load, restored beside it: heads, answers and keys are all there."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from tests.e2e.conftest import TEXTS, Start
from tests.e2e.processes import Running, run, serve_command
from trunkline import Client, Prediction, Unauthenticated, Vector

DIM = 384
TRUNKLINE = (sys.executable, "-m", "trunkline")


def trunkline(*arguments: object) -> subprocess.CompletedProcess[str]:
    return run([*TRUNKLINE, *map(str, arguments)])


def vectors(client: Client, count: int, seed: int) -> list[Vector]:
    (fingerprint,) = {row.fingerprint for row in client.backbones() if row.name == TEXTS}
    drawn = np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)
    return [Vector(fingerprint, row) for row in drawn]


def labelled(client: Client, count: int, seed: int) -> list[tuple[Vector, str]]:
    return [(v, f"class {i % 2}") for i, v in enumerate(vectors(client, count, seed))]


def scores(client: Client) -> list[object]:
    rows = client.predict("acme/mood", vectors(client, 3, seed=0))
    return [row.scores for row in rows if isinstance(row, Prediction)]


@contextmanager
def uploads(client: Client) -> Iterator[list[int]]:
    """Writes all the time within the block; gives the numbers of acknowledged uploads."""
    done, over, begun = list[int](), threading.Event(), threading.Event()

    def write() -> None:
        while not over.is_set():
            client.add_examples("acme/busy", labelled(client, 50, seed=len(done) + 10))
            done.append(len(done))
            begun.set()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        assert begun.wait(60)
        yield done
    finally:
        over.set()
        thread.join()


@pytest.mark.long
def test_backup_under_load_is_restored_with_heads_answers_and_keys(
    start: Start, tmp_path: Path
) -> None:
    data_dir, file, copy = tmp_path / "data", tmp_path / "backup.db", tmp_path / "copy"
    required = ("--auth", "required", "--backbone", TEXTS)
    first = start(serve_command(data_dir, *required))
    key = (data_dir / "operator.key").read_text().strip()
    with Client(first.grpc, token=key, timeout=60) as client:
        for head in ("acme/mood", "acme/busy"):
            client.create_head(head, TEXTS)
        client.add_examples("acme/mood", labelled(client, 20, seed=1))
        client.train("acme/mood")
        revoked = client.create_key("acme", ["predict"])
        client.revoke_key(revoked.key.name)
        before = scores(client)
        with uploads(client) as done:
            acknowledged = len(done)
            made = trunkline("backup", file, "--data-dir", data_dir, "--json")
            assert made.returncode == 0, made.stderr
            begun = len(done) + 1
        assert trunkline("restore", file, "--data-dir", data_dir, "--move-aside").returncode == 1
    restored = trunkline("restore", file, "--data-dir", copy, "--json")
    assert json.loads(restored.stdout)["findings"] == []
    second = start(serve_command(copy, *required))
    assert not (copy / "operator.key").exists()
    with Client(second.grpc, token=key, timeout=60) as client:
        assert scores(client) == before
        assert len(before) == 3
        stored = client.get_head("acme/busy").example_count
        assert 50 * acknowledged <= stored <= 50 * begun
        assert stored % 50 == 0
    assert_refused(second, revoked.text)


def assert_refused(server: Running, key: str) -> None:
    with Client(server.grpc, token=key, timeout=60) as client:
        try:
            client.who_am_i()
        except Unauthenticated:
            return
    raise AssertionError("a revoked key was taken")
