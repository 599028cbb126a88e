"""A client of an application behind the guard of REST."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from tests.service.transport.guarded import open_client


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with open_client(loopback_only=True) as opened:
        yield opened
