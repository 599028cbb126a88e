"""What BentoML would keep of every request is not kept."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SEEN = """
import asyncio
import httpx
from service.bento import SERVICE

async def timers():
    loop = asyncio.get_running_loop()
    app = SERVICE.to_asgi(is_main=True)
    set_for, call_later = [], loop.call_later
    loop.call_later = lambda delay, *rest: set_for.append(delay) or call_later(delay, *rest)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://127.0.0.1"
    ) as http:
        reply = await http.get("/livez")
    print(reply.status_code, [delay for delay in set_for if delay > 60])

asyncio.run(timers())
"""


@pytest.mark.costly
def test_request_sets_no_timer_that_outlives_it(tmp_path: Path) -> None:
    """In a process of its own: the service is made of the environment when it is imported."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "BENTOML_DO_NOT_TRACK": "True",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "TRUNKLINE_DATA_DIR": str(tmp_path / "data"),
    }
    root = Path(__file__).parents[3]
    ended = subprocess.run(
        [sys.executable, "-c", SEEN],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.stdout == "200 []\n", ended.stderr
