"""A process that a supervisor keeps running."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from service.cluster.children import NOT_STARTED, Child

PROGRAM = """
import sys
from service.cluster.children import end_with_parent
end_with_parent()
print('{"grpc": "somewhere"}', flush=True)
sys.exit(3)
"""


@pytest.fixture
def program(tmp_path: Path) -> str:
    (tmp_path / "program_of_a_test.py").write_text(PROGRAM)
    return "program_of_a_test"


async def test_child_says_where_it_serves_and_how_it_ended(program: str, tmp_path: Path) -> None:
    path = os.pathsep.join([str(tmp_path), *sys.path])
    child = Child("one", [program], {**os.environ, "PYTHONPATH": path})
    assert await child.run() == 3
    assert child.ready.is_set()
    assert child.addresses == {"grpc": "somewhere"}


async def test_child_that_cannot_be_started_has_ended(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "none"))
    child = Child("one", ["nothing"], os.environ)
    assert await child.run() == NOT_STARTED
    assert not child.ready.is_set()


async def test_child_that_does_not_last_waits_longer_each_time() -> None:
    child = Child("one", ["nothing"], {})
    pauses = [child.pause() for _ in range(8)]
    assert pauses == [0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]
