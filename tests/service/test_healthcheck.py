"""What the images' HEALTHCHECK runs, against ports that speak TLS and others."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.tls import Certificates
from service.transport.http_server import serve_asgi
from tests.authority import Authority
from tests.e2e.processes import ROOT
from tests.service.transport.port_limits import LIMITS

COMMAND = "service.healthcheck"


def app_of(status: int) -> ASGIApp:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        answer = PlainTextResponse("", status if scope["path"] == "/readyz" else 404)
        await answer(scope, receive, send)

    return app


async def exit_status(port: int) -> int:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", COMMAND),
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TRUNKLINE_REST_PORT": str(port)},
        stderr=asyncio.subprocess.DEVNULL,
    )
    return await process.wait()


def plain(authority: Authority) -> None:
    return None


def encrypted(authority: Authority) -> Certificates:
    return Certificates(authority.issue(expired=True).files())


def mutual(authority: Authority) -> Certificates:
    return Certificates(authority.issue().files(client_ca=authority.ca))


@pytest.mark.parametrize(
    ("certificates", "status", "ended"),
    [(plain, 200, 0), (plain, 503, 1), (encrypted, 200, 0), (encrypted, 503, 1), (mutual, 503, 0)],
)
async def test_container_is_healthy_when_its_server_is_ready(
    tmp_path: Path,
    certificates: Callable[[Authority], Certificates | None],
    status: int,
    ended: int,
) -> None:
    authority = Authority(tmp_path)
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    server = await serve_asgi(app_of(status), listener, LIMITS, certificates(authority))
    try:
        assert await exit_status(port) == ended
    finally:
        server.close()


async def test_container_whose_server_is_gone_is_not_healthy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert await exit_status(port) == 1


def test_images_run_it() -> None:
    checks = (ROOT / "Dockerfile").read_text(encoding="utf-8").split("HEALTHCHECK")[1:]
    assert len(checks) == 2
    assert all(f'CMD ["python", "-m", "{COMMAND}"]' in check for check in checks)
