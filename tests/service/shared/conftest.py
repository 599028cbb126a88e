"""Servers to share things in."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service.shared.valkey import Valkey


@pytest.fixture(scope="module")
def shared_url() -> Iterator[str]:
    """The address of a server for a file's tests, none of which stops it: what they put there is
    of tenants of their own."""
    named = os.environ.get("TRUNKLINE_TEST_REDIS")
    if named:
        yield named
        return
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        server = Valkey(Path(folder))
        server.start()
        yield server.url
        server.kill()


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    """A server that a test may stop."""
    # The path of a Unix socket has 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="valkey-") as folder:
        server = Valkey(Path(folder))
        server.start()
        yield server
        server.kill()
