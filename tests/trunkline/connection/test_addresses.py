"""An address that is none, or leads to something else, is told at once and with what to give."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import pytest
from click.testing import CliRunner

import trunkline
from tests.trunkline.recording import Server
from trunkline import AsyncClient, Client
from trunkline.cli import main
from trunkline.connection import retrying
from trunkline.connection.addresses import check_address
from trunkline.connection.retrying import Attempts

LONG = 3600.0
"""What a client that waits would wait; a test that passes does not."""


class Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def web_server() -> Iterator[str]:
    """The address of one that speaks HTTP/1, as REST does."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("address", "reason", "instead"),
    [
        ("http://127.0.0.1:3000", "is a web address of REST", "127.0.0.1:50051"),
        ("https://serve.example.com", "has no port", "https://serve.example.com:50051"),
        ("grpcs://serve.example.com:1/v1", "has '1/v1' for a port", "https://serve.example.com:1"),
        ("HTTP://[::1]:3000/v1", "is a web address of REST", "[::1]:50051"),
        ("grpc://127.0.0.1:50052", "begins with grpc://", "127.0.0.1:50052"),
        ("127.0.0.1", "has no port", "127.0.0.1:50051"),
        ("localhost:", "has no port", "localhost:50051"),
        ("[::1]", "has no port", "[::1]:50051"),
        (":50051", "has no host", "127.0.0.1:50051"),
        ("", "is empty", "127.0.0.1:50051"),
        ("localhost:grpc", "has 'grpc' for a port", "127.0.0.1:50051"),
        ("localhost:3000/v1", "has '3000/v1' for a port", "localhost:3000"),
        ("localhost:0", "has port 0, which must be from 1 to 65535", "localhost:50051"),
        ("localhost:65536", "has port 65536", "127.0.0.1:50051"),
        ("localhost:-1", "has '-1' for a port", "127.0.0.1:50051"),
        ("::1:50051", "needs an IPv6 host in [brackets]", "127.0.0.1:50051"),
        ("my host:50051", "has no valid host", "127.0.0.1:50051"),
        ("unix:", "has no port", "127.0.0.1:50051"),
        ("unix://run/socket", "has two slashes", "unix:/run/socket"),
        (f"unix:/{'x' * 107}", "has a path of 108 bytes", "127.0.0.1:50051"),
        ("/run/socket", "is a path", "unix:/run/socket"),
        ("./socket", "is a path", "unix:./socket"),
    ],
)
def test_address_of_another_form_is_refused_with_the_one_that_is_meant(
    address: str, reason: str, instead: str
) -> None:
    for kind in (Client, AsyncClient):
        with pytest.raises(trunkline.InvalidArgument) as caught:
            kind(address)
        assert reason in caught.value.message
        assert caught.value.message.endswith(f"e.g. {instead}")
        assert caught.value.field == "server"


@pytest.mark.parametrize(
    "address",
    [
        "localhost:1",
        "10.0.0.7:65535",
        "[::1]:50051",
        "a-b_c.example:50051",
        "unix:/a/b",
        "unix:///a/b",
        "unix:a",
        *("https://localhost:1", "grpcs://[::1]:50051", "HTTPS://a.example:50051/"),
    ],
)
def test_address_of_the_right_form_is_taken(address: str) -> None:
    assert check_address(address) == address


@pytest.mark.parametrize("address", [50051, None, ("127.0.0.1", 50051), Path("socket")])
def test_address_that_is_no_string_is_refused(address: Any) -> None:
    with pytest.raises(trunkline.InvalidArgument, match="must be a str"):
        Client(address)


@pytest.mark.parametrize("repeatable", [True, False])
def test_server_that_speaks_no_grpc_is_told_at_once(web_server: str, repeatable: bool) -> None:
    async def ask() -> None:
        async with AsyncClient(web_server, timeout=LONG) as client:
            await (client.backbones() if repeatable else client.delete_head("acme/mood"))

    with Client(web_server, timeout=LONG) as client:
        with pytest.raises(trunkline.InvalidArgument, match="does not speak gRPC") as caught:
            client.backbones() if repeatable else client.delete_head("acme/mood")
        assert caught.value.value == web_server
        assert not client.ready()
    with pytest.raises(trunkline.InvalidArgument, match="does not speak gRPC"):
        asyncio.run(ask())


def test_host_that_does_not_exist_is_told_at_once() -> None:
    with (
        Client("nobody.invalid:50051", timeout=LONG) as client,
        pytest.raises(trunkline.InvalidArgument, match=r"there is no host 'nobody\.invalid'"),
    ):
        client.backbones()


@pytest.mark.parametrize("repeatable", [True, False])
def test_absent_server_is_waited_for_and_said_so(
    repeatable: bool,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Two attempts follow at once; the wait before the next would end after the deadline.
    monkeypatch.setattr(retrying, "backoff", lambda failures, _: 0.0 if failures < 3 else 2 * LONG)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    reasons = {
        f"127.0.0.1:{port}": "connection refused",
        f"unix:{tmp_path}/nothing": "there is no such socket",
    }
    for address, reason in reasons.items():
        caplog.clear()
        words = f"no server answers at {address} ({reason})"
        with (
            caplog.at_level("INFO", "trunkline"),
            Client(address, timeout=LONG) as client,
            pytest.raises(trunkline.Unavailable) as caught,
        ):
            client.backbones() if repeatable else client.delete_head("acme/mood")
        assert caught.value.message.startswith(words)
        assert "`trunkline serve`" in caught.value.message
        assert "trying again for" in caplog.messages[0]
        assert caplog.messages[0].startswith(words)


@pytest.mark.long
async def test_server_that_comes_late_and_takes_too_long_is_told_with_what_was_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    over = threading.Event()

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        over.wait()
        return b""

    class Slow(grpc.GenericRpcHandler):
        def service(self, _: grpc.HandlerCallDetails) -> Any:
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(2), handlers=[Slow()])

    def start() -> None:
        server.add_insecure_port(address)
        server.start()

    # The server starts when both clients have found none.
    both_failed = threading.Barrier(2, action=start)
    failed: set[int] = set()

    def begin(*_: object) -> float:
        if (thread := threading.get_ident()) not in failed:
            failed.add(thread)
            both_failed.wait(LONG)
        return 0.1

    monkeypatch.setattr(retrying, "backoff", begin)

    def ask() -> None:
        with Client(address, timeout=6) as client:
            client.backbones()

    try:
        async with AsyncClient(address, timeout=6) as client:
            ends = await asyncio.gather(
                asyncio.to_thread(ask), client.backbones(), return_exceptions=True
            )
    finally:
        over.set()
        server.stop(None).wait()
    for error in ends:
        assert isinstance(error, trunkline.DeadlineExceeded)
        assert f"before that, no server answers at {address}" in error.message


@pytest.mark.parametrize("repeatable", [True, False])
def test_call_that_a_closing_port_cut_off_is_made_again_where_that_does_no_harm(
    repeatable: bool,
) -> None:
    asked: list[str] = []

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        if len(asked) == 1:
            context.abort(grpc.StatusCode.CANCELLED, "")
        return b""

    class Closing(grpc.GenericRpcHandler):
        def service(self, details: grpc.HandlerCallDetails) -> Any:
            if "Health" not in details.method:
                asked.append(details.method)
            return grpc.unary_unary_rpc_method_handler(answer)

    server = grpc.server(ThreadPoolExecutor(1), handlers=[Closing()])
    address = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        with Client(address, timeout=LONG) as client:
            if repeatable:
                assert client.backbones() == []
            else:
                with pytest.raises(trunkline.Unavailable, match=f"{address} closed its port"):
                    client.promote_live_copy("acme/mood")
    finally:
        server.stop(None).wait()
    assert len(asked) == (2 if repeatable else 1)


def test_deadline_of_the_only_attempt_is_told_as_it_is() -> None:
    late = trunkline.DeadlineExceeded("Deadline Exceeded", request_id="r1")
    with pytest.raises(trunkline.DeadlineExceeded) as caught:
        Attempts(LONG, idempotent=True).pause(late)
    assert caught.value is late


def test_deadline_after_a_refusal_keeps_what_the_server_said_of_it() -> None:
    attempts = Attempts(LONG, idempotent=True)
    attempts.pause(trunkline.Unavailable("the queue is full", retry_after=0.1))
    with pytest.raises(trunkline.DeadlineExceeded, match="the queue is full") as caught:
        attempts.pause(trunkline.DeadlineExceeded("deadline", field="deadline", request_id="r1"))
    assert (caught.value.field, caught.value.request_id) == ("deadline", "r1")


def test_command_says_at_once_what_to_give_and_whether_a_server_runs_there(
    server: Server, web_server: str
) -> None:
    def run(address: str) -> str:
        arguments = ["--server", address, "--timeout", str(LONG), "backbones"]
        ended = CliRunner().invoke(main, arguments)
        assert ended.exit_code == 1
        assert ended.stdout == ""
        (line,) = ended.stderr.splitlines()
        return line

    assert run(f"grpc://{server.address}").endswith(
        f"e.g. {server.address} (a server answers at {server.address})"
    )
    server.stop()
    assert run(f"grpc://{server.address}").endswith(
        f"(no server answers at {server.address}; `trunkline serve` starts one)"
    )
    assert "unix:PATH, e.g. 127.0.0.1:50051" in run(f"http://{web_server}/v1")
    assert f"what answers at {web_server} does not speak gRPC" in run(web_server)
