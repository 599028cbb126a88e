from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest
from click.testing import CliRunner, Result

from tests.trunkline.recording import Recorder, Server
from tests.trunkline.steps import Run
from trunkline import Client
from trunkline.cli import main


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


@pytest.fixture
def run(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Runs the command line; `answers` are typed line by line. No key is stored at first."""
    config = str(tmp_path_factory.mktemp("config"))

    def invoke(*arguments: object, answers: str | bytes | BinaryIO = "") -> Result:
        env = {"TRUNKLINE_SERVER": server.address, "COLUMNS": "200", "XDG_CONFIG_HOME": config}
        return CliRunner(env=env).invoke(main, [str(row) for row in arguments], input=answers)

    return invoke


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "mood.csv"
    path.write_text("text,label\ngood,yes\nfine,yes\nbad,no\nawful,no\n")
    return path
