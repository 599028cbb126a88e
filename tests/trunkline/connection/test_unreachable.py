"""What keeps a client from its server is told by name, at once where waiting cannot mend it."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

import trunkline
from trunkline import Client
from trunkline.cli import main
from trunkline.connection import retrying
from trunkline.connection.proxies import proxy_variable
from trunkline.connection.unreachable import unreachable

LONG = 3600.0
"""What a client that waits would wait; a test that passes does not."""

UNCONNECTED = "failed to connect to all addresses; last error: "
Listen = Callable[[bytes], str]


@pytest.fixture
def listen() -> Iterator[Listen]:
    """Starts a server that reads, answers each connection with these bytes, and closes it."""

    def serve(listener: socket.socket, answer: bytes) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(1 << 16)
                connection.sendall(answer)

    def start(answer: bytes) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        thread = threading.Thread(target=serve, args=(listener, answer))
        thread.start()
        stack.callback(thread.join)
        stack.callback(listener.close)
        stack.callback(listener.shutdown, socket.SHUT_RDWR)
        return f"127.0.0.1:{listener.getsockname()[1]}"

    with ExitStack() as stack:
        yield start


@pytest.fixture
def closed_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait before the second attempt would end after the deadline."""
    monkeypatch.setattr(retrying, "backoff", lambda *_: 2 * LONG)


def failure(address: str) -> trunkline.TrunklineError:
    with Client(address, timeout=LONG) as client, pytest.raises(trunkline.TrunklineError) as caught:
        client.backbones()
    return caught.value


def test_what_is_no_socket_is_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("no socket")
    for path, words in ((tmp_path, "is a directory"), (file, "is a file, and no socket")):
        error = failure(f"unix:{path}")
        assert isinstance(error, trunkline.InvalidArgument)
        assert error.message.startswith(f"unix:{path} {words}")
        assert (error.field, error.value) == ("server", f"unix:{path}")


def test_socket_that_this_user_may_not_use_is_told_at_once() -> None:
    details = "FAILED_PRECONDITION: unix:/s: connect failed: addr: unix:/s error: Permission denied"
    error = unreachable(UNCONNECTED + details, "unix:/s")
    assert isinstance(error, trunkline.InvalidArgument)
    assert error.message == "unix:/s is closed to this user: permission denied"


@pytest.mark.usefixtures("impatient")
def test_server_that_closes_connections_may_want_tls(listen: Listen) -> None:
    error = failure(listen(b""))
    assert isinstance(error, trunkline.Unavailable)
    assert "wants TLS" in error.message


def test_web_server_that_wants_tls_is_told_at_once(listen: Listen) -> None:
    error = failure(listen(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"))
    assert isinstance(error, trunkline.InvalidArgument)
    assert "in TLS alone" in error.message


@pytest.mark.parametrize(
    ("details", "reason"),
    [
        ("connection attempt timed out before receiving SETTINGS frame", "says nothing"),
        ("connection attempt timed out", "no answer in time"),
        ("connect failed: addr: ipv6:[fe80::1]:1 error: Invalid argument", "(Invalid argument)"),
    ],
)
def test_server_that_does_not_answer_is_told_with_the_reason(details: str, reason: str) -> None:
    error = unreachable(UNCONNECTED + details, "10.0.0.1:1")
    assert isinstance(error, trunkline.Unavailable)
    assert reason in error.message
    assert "`trunkline serve`" in error.message


@pytest.mark.usefixtures("no_proxies")
def test_proxy_that_refuses_is_told_at_once(
    listen: Listen, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = listen(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")
    monkeypatch.setenv("http_proxy", f"http://me:secret@{proxy}")
    error = failure("server.invalid:50051")
    assert isinstance(error, trunkline.InvalidArgument)
    assert "the proxy to server.invalid:50051 answers with HTTP 403" in error.message
    assert "http_proxy is set" in error.message
    assert "no_proxy=server.invalid goes around it" in error.message
    assert "secret" not in error.message


@pytest.mark.usefixtures("no_proxies")
def test_proxy_whose_host_does_not_exist_is_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("grpc_proxy", "http://proxy.invalid:3128")
    error = failure("server.invalid:50051")
    assert isinstance(error, trunkline.InvalidArgument)
    assert "has a host that does not exist" in error.message
    assert "grpc_proxy is set" in error.message


@pytest.mark.usefixtures("no_proxies", "impatient")
def test_proxy_that_is_not_there_is_waited_for_and_named(
    closed_port: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://{closed_port}")
    error = failure("server.invalid:50051")
    assert isinstance(error, trunkline.Unavailable)
    assert "(connection refused). https_proxy is set" in error.message


@pytest.mark.usefixtures("no_proxies")
def test_proxy_is_not_blamed_where_grpc_goes_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert proxy_variable("server.lab:50051") == "http_proxy"
    for address in ("127.0.0.1:50051", "localhost:50051", "[::1]:50051", "unix:/run/socket"):
        assert proxy_variable(address) is None
    monkeypatch.setenv("no_proxy", "example.com, .lab")
    assert proxy_variable("server.lab:50051") is None
    assert proxy_variable("server.invalid:50051") == "http_proxy"
    monkeypatch.setenv("no_proxy", ".invalid")
    assert "there is no host 'server.invalid'" in failure("server.invalid:50051").message


def test_command_suggests_no_other_port_of_a_host_that_does_not_exist() -> None:
    ended = CliRunner().invoke(main, ["--server", "nobody.invalid:3000", "backbones"])
    assert ended.exit_code == 1
    assert ended.stderr == (
        "error: there is no host 'nobody.invalid'; check its spelling, or give its IP address\n"
    )
