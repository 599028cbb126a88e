from collections.abc import Iterator

import pytest

from tests.trunkline.recording import Recorder, Server
from trunkline import Client


@pytest.fixture
def recorder() -> Recorder:
    return Recorder()


@pytest.fixture
def server(recorder: Recorder) -> Iterator[Server]:
    running = Server(recorder, "127.0.0.1:0")
    running.start()
    yield running
    running.stop()


@pytest.fixture
def client(server: Server) -> Iterator[Client]:
    with Client(server.address, timeout=10) as connected:
        yield connected
