"""An application that says what came in, behind the guard of REST."""

from __future__ import annotations

from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from service.transport.receiving import ReceivingBudget
from service.transport.rest_guard import (
    RestGuard,
)
from service.transport.sites import PROBES
from tests.service.transport.open_backend import open_backend

LIMIT = 1000

PATHS = ("/", "/predict", "/v1/tenants/acme/heads", "/docs", "/metrics", *PROBES)


def open_client(**sites: Any) -> httpx.AsyncClient:
    routes = [Route(path, echo, methods=["GET", "POST"]) for path in PATHS]
    budget = ReceivingBudget(10**6, 60)
    transport = httpx.ASGITransport(
        RestGuard(Starlette(routes=routes), LIMIT, budget, open_backend(), **sites)
    )
    return httpx.AsyncClient(transport=transport, base_url="http://localhost")


async def echo(request: Request) -> Response:
    body = await request.body()
    return JSONResponse({"bytes": len(body), "type": request.headers.get("content-type", "")})
