"""Two servers behind one name, which are restarted in turn."""

from __future__ import annotations

import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

import pytest

from tests.e2e.conftest import TEXTS, Start
from tests.e2e.processes import END_SECONDS, Running, free_port, serve_command
from trunkline import Client, Prediction

pytestmark = pytest.mark.long

HOSTS = ("127.0.0.1", "::1")
HEAD = "acme/head"


@pytest.fixture
def port() -> str:
    """One that both addresses of localhost have free."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return free_port()
    except OSError:
        pytest.skip("this machine has no address ::1")


def test_servers_of_one_name_are_restarted_in_turn_and_no_call_of_our_client_fails(
    tmp_path: Path, start: Start, client: Client, text_head: str, port: str
) -> None:
    weights = client.export_head(text_head).safetensors

    def serve(number: int) -> Running:
        options = ("--host", HOSTS[number], "--grpc-port", port, "--backbone", TEXTS)
        return start(serve_command(tmp_path / str(number), *options))

    servers = [serve(number) for number in range(len(HOSTS))]
    for server in servers:
        with server.client() as direct:
            direct.import_head(HEAD, weights, TEXTS)
    stop, answers = threading.Event(), SimpleQueue[Prediction]()

    def call() -> None:
        with Client(f"dns:///localhost:{port}", timeout=60) as ours:
            while not stop.is_set():
                (outcome,) = ours.predict(HEAD, ["still there?"])
                assert isinstance(outcome, Prediction), outcome
                ours.release_feedback(HEAD, None)  # which is not sent twice
                answers.put(outcome)

    with ThreadPoolExecutor(1) as pool:
        calls = pool.submit(call)
        try:
            for number, server in enumerate(servers):
                while not answers.empty():
                    answers.get()
                for _ in range(20):
                    answers.get(timeout=END_SECONDS)
                server.process.send_signal(signal.SIGTERM)
                assert server.wait() == 0
                serve(number)
        finally:
            stop.set()
        calls.result()
