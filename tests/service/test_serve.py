"""``trunkline serve`` and ``trunkline extractor`` say in one line why they do not start."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.extract import extractor_main
from service.serve import serve_main

Serve = Callable[..., int]

pytestmark = pytest.mark.usefixtures("own_logging")


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What ``--config`` leaves in it is gone afterwards."""
    monkeypatch.setenv("TRUNKLINE_CONFIG", "")
    monkeypatch.delenv("TRUNKLINE_CONFIG")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that is in use: where nothing else is refused, no server starts either.

    Its listener would share it with a server that shares, too, so that such a server is noticed.
    """
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as listener:
        yield listener.getsockname()[1]


@pytest.fixture
def serve(tmp_path: Path, taken: int) -> Serve:
    def serve(*options: str) -> int:
        return serve_main(
            ["--data-dir", str(tmp_path / "data"), "--rest-port", str(taken), *options]
        )

    return serve


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--host", "0.0.0.0", "--insecure", "--auth", "required"], ["auth", "insecure"]),
        (["--tls-cert", "/no/such/cert.pem"], ["tls_cert", "tls_key"]),
        (["--workers", "257"], ["workers", "256", "257"]),
        (["--max-rows-per-request", "0"], ["max_rows_per_request", "0"]),
        (["--max-queued-rows-per-tenant", "10"], ["max_queued_rows_per_tenant", "10", "1024"]),
        (["--backbone", ""], ["backbone"]),
        (["--backbone", "vgg/16"], ["vgg/16"]),
        (["--grpc-port", "70000"], ["grpc_port", "70000"]),
        (["--no-such-option"], ["no-such-option"]),
        (["--config"], ["config"]),
        (["--config", "/no/such/file.toml"], ["/no/such/file.toml"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_bad_settings_are_refused(
    serve: Serve,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    words: list[str],
) -> None:
    assert serve(*options) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert "cannot listen" not in said.err
    for word in words:
        assert word in said.err
    assert not (tmp_path / "data").exists()


def test_settings_come_from_the_environment_too(
    serve: Serve, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TRUNKLINE_MAX_PIXELS", "many")
    assert serve() == 2
    assert "max_pixels" in capsys.readouterr().err


def test_rest_port_in_use_is_a_clear_error(
    serve: Serve, tmp_path: Path, taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert serve() == 2
    said = capsys.readouterr()
    assert f"127.0.0.1:{taken}" in said.err
    assert said.out == ""
    assert not (tmp_path / "data").exists()


def test_extractor_beyond_loopback_is_refused(
    taken: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert extractor_main(["--host", "0.0.0.0", "--metrics-port", str(taken)]) == 2
    assert "--insecure" in capsys.readouterr().err
