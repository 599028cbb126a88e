"""One server for most tests, in a process of its own; tests keep apart by tenant."""

from __future__ import annotations

import itertools
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from tests.e2e.processes import Running, run, serve_command
from tests.e2e.samples import Labelled, short_texts, textile_photos
from tests.e2e.transports import Grpc, Rest, Transport
from trunkline import Backbone, Client

Cli = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., Running]
IMAGES = "efficientnet/lite0"
TEXTS = "minilm/l6-v2"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("server")
    running = Running.start(serve_command(folder / "data", "--log-level", "debug"), folder / "log")
    try:
        yield running.wait_until_serving()
        assert running.terminate() == 0
    finally:
        running.close()


@pytest.fixture
def start(tmp_path: Path, cache_dir: Path) -> Iterator[Start]:
    """Starts a command and waits until it serves; what still runs afterwards is killed."""
    started: list[Running] = []

    def start(command: list[str], *, wait: bool = True, **environment: str) -> Running:
        log = tmp_path / f"log-{len(started)}"
        started.append(Running.start(command, log, environment))
        return started[-1].wait_until_serving() if wait else started[-1]

    yield start
    for running in started:
        running.close()


@pytest.fixture
def short_dir() -> Iterator[Path]:
    """A folder for data whose sockets' paths must be short; a test's own may lie deep."""
    with tempfile.TemporaryDirectory(prefix="served-") as folder:
        yield Path(folder)


@pytest.fixture(scope="session")
def client(server: Running) -> Iterator[Client]:
    with server.client() as connected:
        yield connected


@pytest.fixture(scope="session")
def http(server: Running) -> Iterator[httpx.Client]:
    with server.http() as connected:
        yield connected


@pytest.fixture
def cli(server: Running) -> Cli:
    """Runs `trunkline` against the server."""

    def cli(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "trunkline", *map(str, arguments)]
        return run(command, TRUNKLINE_SERVER=server.grpc)

    return cli


@pytest.fixture(scope="session", params=["grpc", "rest"])
def transport(server: Running, request: pytest.FixtureRequest) -> Iterator[Transport]:
    """Both ways to the server, one after the other."""
    connected: Grpc | Rest
    connected = Grpc(server.grpc) if request.param == "grpc" else Rest(server.rest)
    yield connected
    connected.close()


@pytest.fixture
def tenant(request: pytest.FixtureRequest, _numbers: Iterator[int]) -> str:
    """A tenant nobody else uses."""
    name = re.sub("[^A-Za-z0-9]+", "-", request.node.name)[:40]
    return f"{name}-{next(_numbers)}"


@pytest.fixture(scope="session")
def _numbers() -> Iterator[int]:
    return itertools.count()


@pytest.fixture(scope="session")
def backbones(client: Client) -> dict[str, Backbone]:
    return {backbone.name: backbone for backbone in client.backbones()}


@pytest.fixture(scope="session")
def photos() -> Labelled:
    """Textile photos, 8 a class, the classes in turn."""
    return textile_photos(8)


@pytest.fixture(scope="session")
def sentences() -> list[tuple[str, str]]:
    """Short texts, 12 a class, the classes in turn."""
    return short_texts(12)


@pytest.fixture(scope="session")
def text_head(client: Client, sentences: list[tuple[str, str]]) -> str:
    """A trained head on texts."""
    client.create_head("shared/sentiment", TEXTS)
    client.upload("shared/sentiment", sentences)
    client.train("shared/sentiment")
    return "tenants/shared/heads/sentiment"


@pytest.fixture(scope="session")
def image_head(client: Client, photos: Labelled) -> str:
    """A trained head on images."""
    client.create_head("shared/textile", IMAGES)
    client.upload("shared/textile", photos)
    client.train("shared/textile")
    return "tenants/shared/heads/textile"
