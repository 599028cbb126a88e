"""Where REST listens, how many workers there may be, and what ends one."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from service.bento import supervision
from service.config import ServerSettings, load_settings
from service.errors import InvalidSettings

ROOT = Path(__file__).parents[3]


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as opened:
        opened.bind(("127.0.0.1", 0))
        yield opened


@pytest.fixture
def wide_listener() -> Iterator[socket.socket]:
    with socket.socket() as opened:
        opened.bind(("0.0.0.0", 0))
        yield opened


def test_without_a_supervisor_rest_listens_where_the_settings_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["trunkline", "serve"])
    settings = load_settings(ServerSettings, rest_port=3001)
    assert supervision.rest_address(settings) == ("127.0.0.1", 3001)


def test_under_a_supervisor_rest_listens_on_the_supervisors_socket(
    monkeypatch: pytest.MonkeyPatch, listener: socket.socket
) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", "--fd", str(listener.fileno())])
    settings = load_settings(ServerSettings, rest_port=3001)
    assert supervision.rest_address(settings) == listener.getsockname()
    assert listener.getsockname()  # it is still open


def test_supervisor_that_listens_for_everybody_is_refused_unless_that_is_meant(
    monkeypatch: pytest.MonkeyPatch, wide_listener: socket.socket
) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", "--fd", str(wide_listener.fileno())])
    with pytest.raises(InvalidSettings, match=r"0\.0\.0\.0 is not loopback") as caught:
        supervision.rest_address(load_settings(ServerSettings))
    assert caught.value.field == "host"
    meant = load_settings(ServerSettings, insecure=True)
    assert supervision.rest_address(meant).host == "0.0.0.0"


def test_certificate_of_bentomls_own_is_refused_as_grpc_would_have_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["bentoml", "--ssl-version", "17", "--worker-id", "1"])
    supervision.check_tls()
    monkeypatch.setattr(sys, "argv", ["bentoml", "--ssl-certfile", "tls.pem", "--worker-id", "1"])
    with pytest.raises(InvalidSettings, match="TRUNKLINE_TLS_CERT"):
        supervision.check_tls()


def test_worker_believes_the_proxies_that_the_settings_name_and_no_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["bentoml", "--worker-id", "1"])
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", "")
    monkeypatch.setitem(uvicorn.config.LOOP_FACTORIES, "auto", "")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    for trusted in ((), ("10.0.0.1", "10.1.0.0/16")):
        supervision.replace_connections(asyncio.Protocol, trusted)
        assert uvicorn.Config("app").forwarded_allow_ips == ",".join(trusted)
    assert dict[str, object](uvicorn.config.HTTP_PROTOCOLS)["auto"] is asyncio.Protocol


def test_worker_runs_on_asyncios_own_loop_whatever_else_is_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["bentoml", "--worker-id", "1"])
    monkeypatch.setitem(uvicorn.config.HTTP_PROTOCOLS, "auto", "")
    monkeypatch.setitem(uvicorn.config.LOOP_FACTORIES, "auto", "uvloop:new_event_loop")
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "")
    supervision.replace_connections(asyncio.Protocol, ())
    factory = uvicorn.Config("app").get_loop_factory()
    assert factory is not None
    with contextlib.closing(factory()) as loop:
        assert isinstance(loop, asyncio.SelectorEventLoop)


def test_second_worker_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", "--worker-id", "2"])
    with pytest.raises(InvalidSettings, match="at most 1") as caught:
        supervision.check_workers(load_settings(ServerSettings))
    assert (caught.value.field, caught.value.limit, caught.value.value) == ("workers", 1, 2)


def test_workers_of_bentoml_are_not_several(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["worker", "--worker-id", "1"])
    with pytest.raises(InvalidSettings, match="trunkline serve") as caught:
        supervision.check_workers(load_settings(ServerSettings, workers=2))
    assert (caught.value.field, caught.value.limit, caught.value.value) == ("workers", 1, 2)


@pytest.mark.parametrize("argv", [["trunkline"], ["worker", "--worker-id", "1"]])
def test_only_worker_is_welcome(monkeypatch: pytest.MonkeyPatch, argv: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    supervision.check_workers(load_settings(ServerSettings))


PARENT = """
import subprocess, sys
child = subprocess.Popen(
    [sys.executable, "-c", sys.argv[1], "--worker-id", "1"], stdin=sys.stdin, stdout=sys.stdout
)
child.wait()
"""

WORKER = """
import sys, time
from service.bento import supervision
supervision.exit_with_parent()
print("watching", flush=True)
time.sleep(600)
"""


def test_worker_ends_when_its_supervisor_is_killed() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, WORKER],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        text=True,
    ) as parent:
        assert parent.stdout is not None
        assert parent.stdout.readline() == "watching\n"
        parent.kill()
        # The worker holds the other end of this pipe: it reads to the end when the worker ends.
        assert "the supervisor is gone" in parent.stdout.read()
