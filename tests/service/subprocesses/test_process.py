"""What the server starts beside itself, it ends itself."""

from __future__ import annotations

import os

import pytest

from service.subprocesses.process import end_process, start_process


@pytest.mark.costly
@pytest.mark.parametrize("module", ["fitting", "tuning", "advice"])
async def test_ctrl_c_in_a_terminal_does_not_reach_a_child(module: str) -> None:
    process = await start_process(f"service.{module}.worker", threads=1)
    try:
        assert os.getpgid(process.pid) != os.getpgid(0)
    finally:
        await end_process(process)
