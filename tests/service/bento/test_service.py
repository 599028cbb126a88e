"""What BentoML would keep of every request is not kept, and what it would not say is said."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BEGIN = """
import asyncio, json
import httpx
from bentoml._internal.utils.analytics import usage_stats

asked = usage_stats.do_not_track()  # which remembers the answer, as under `bentoml serve`

from service.bento.service import SERVICE

app = SERVICE.to_asgi(is_main=True)

def client():
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1")
"""

TIMERS = """
async def timers():
    loop = asyncio.get_running_loop()
    set_for, call_later = [], loop.call_later
    loop.call_later = lambda delay, *rest: set_for.append(delay) or call_later(delay, *rest)
    async with client() as http:
        reply = await http.get("/livez")
    return reply.status_code, [delay for delay in set_for if delay > 60]

print(json.dumps(asyncio.run(timers())))
"""

PROBES = """
from types import SimpleNamespace
from service.transport.readiness import Readiness

class Probed(SERVICE.inner):
    start = stop = None  # neither a store nor backbones

    def __init__(self):
        super().__init__()
        self._application = SimpleNamespace(readiness=readiness)

async def probes():
    said = []
    async with app.router.lifespan_context(app), client() as http:
        async def ask(path="/readyz"):
            reply = await http.get(path)
            said.append([reply.status_code, reply.headers["content-type"], reply.text])
        readiness.detail = lambda: "the disk is full"
        await ask()
        readiness.set_extractor_ready(True)
        await ask()
        await ask("/livez")
        readiness.detail = str
        await ask()
    return said

readiness = Readiness()
SERVICE.inner = Probed
print(json.dumps(asyncio.run(probes())))
"""

PATHS = """
from bentoml._internal.configuration.containers import BentoMLContainer
from prometheus_client.parser import text_string_to_metric_families

async def paths():
    async with client() as http:
        for path in ("/livez", "/livez/x", "/v1/tenants/acme/heads/one", "/none", "/predict"):
            await http.get(path)
    page = BentoMLContainer.metrics_client.get().generate_latest().decode()
    samples = [one for family in text_string_to_metric_families(page) for one in family.samples]
    return sorted({one.labels["endpoint"] for one in samples if "endpoint" in one.labels})

print(json.dumps(asyncio.run(paths())))
"""

STATISTICS = """
print(json.dumps([asked, usage_stats.do_not_track()]))
"""

PLAIN = "text/plain; charset=utf-8"


def run(tmp_path: Path, script: str) -> Any:
    """In a process of its own: the service is made of the environment when it is imported."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "TRUNKLINE_DATA_DIR": str(tmp_path / "data"),
    }
    ended = subprocess.run(
        [sys.executable, "-c", BEGIN + script],
        cwd=Path(__file__).parents[3],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return json.loads(ended.stdout)


@pytest.mark.costly
def test_request_sets_no_timer_that_outlives_it(tmp_path: Path) -> None:
    assert run(tmp_path, TIMERS) == [200, []]


@pytest.mark.costly
def test_metrics_keep_no_path_that_anybody_asks_for(tmp_path: Path) -> None:
    assert run(tmp_path, PATHS) == ["/", "/livez", "/predict"]


@pytest.mark.costly
def test_no_usage_statistics_are_sent(tmp_path: Path) -> None:
    assert run(tmp_path, STATISTICS) == [False, True]


@pytest.mark.costly
def test_readyz_says_why_not_and_a_ready_server_what_is_wrong(tmp_path: Path) -> None:
    not_ready, ready, alive, sound = run(tmp_path, PROBES)
    assert not_ready == [503, PLAIN, "not ready: the backbones do not answer"]
    assert ready == [200, PLAIN, "the disk is full\n"]
    assert alive == sound == [200, PLAIN, "\n"]
