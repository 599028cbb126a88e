"""An address that begins with dns:/// stands for every server that its name leads to."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator

import pytest

import trunkline
from tests.trunkline.recording import Recorder, Server
from tests.trunkline.steps import trained, unavailable
from trunkline import AsyncClient, Client
from trunkline.connection.addresses import check_address

TENANT = "x-trunkline-tenant"
PATIENCE = 60.0


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    """Two on one port of localhost: one on its IPv4 address, one on its IPv6 address."""
    first = Server(Recorder(), "127.0.0.1:0")
    first.start()
    second = Server(Recorder(), f"[::1]:{_port(first)}")
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
        second.start()
    except OSError:
        first.stop()
        pytest.skip("this machine has no address ::1")
    yield first, second
    first.stop()
    second.stop()


def _port(server: Server) -> str:
    return server.address.rpartition(":")[2]


def _of_both(servers: tuple[Server, Server]) -> str:
    return f"dns:///localhost:{_port(servers[0])}"


def _calls(server: Server) -> int:
    return len(server.recorder.requests)


def _until_both_were_asked(client: Client, servers: tuple[Server, Server]) -> None:
    """Connections are made one after the other, so that the first calls go to one server."""
    while not all(map(_calls, servers)):
        client.backbones()


def test_calls_take_turns_among_the_servers_of_a_name(servers: tuple[Server, Server]) -> None:
    with Client(_of_both(servers), timeout=PATIENCE) as client:
        _until_both_were_asked(client, servers)
        before = [_calls(server) for server in servers]
        for _ in range(10):
            client.backbones()
    assert [_calls(server) - asked for server, asked in zip(servers, before, strict=True)] == [5, 5]


async def test_so_do_calls_of_the_asynchronous_client(servers: tuple[Server, Server]) -> None:
    async with AsyncClient(_of_both(servers), timeout=PATIENCE) as client:
        while not all(map(_calls, servers)):
            await client.backbones()
        before = [_calls(server) for server in servers]
        await asyncio.gather(*(client.backbones() for _ in range(10)))
    assert [_calls(server) - asked for server, asked in zip(servers, before, strict=True)] == [5, 5]


def test_a_rolling_restart_fails_no_call(servers: tuple[Server, Server]) -> None:
    with Client(_of_both(servers), timeout=PATIENCE) as client:
        _until_both_were_asked(client, servers)
        for server in servers:
            server.stop()
            for _ in range(20):
                client.backbones()
            server.start()


def test_a_restart_of_all_at_once_is_waited_for(servers: tuple[Server, Server]) -> None:
    with Client(_of_both(servers), timeout=PATIENCE) as client:
        for server in servers:
            server.recorder.hooks["ListBackbones"] = [unavailable]
        assert client.backbones()


def test_an_address_that_names_one_server_goes_to_one(servers: tuple[Server, Server]) -> None:
    with Client(f"localhost:{_port(servers[0])}", timeout=PATIENCE) as client:
        for _ in range(10):
            client.backbones()
    assert 0 in map(_calls, servers)


def test_servers_of_a_name_that_are_all_gone_are_unavailable(
    servers: tuple[Server, Server],
) -> None:
    for server in servers:
        server.stop()
    with (
        Client(_of_both(servers), timeout=0.3) as client,
        pytest.raises(trunkline.Unavailable, match="connection refused"),
    ):
        client.backbones()


def test_a_name_without_servers_is_waited_for() -> None:
    """A headless Service has no address while none of its pods is ready."""
    with (
        Client("dns:///servers.invalid:50051", timeout=0.3) as client,
        pytest.raises(trunkline.Unavailable, match=r"servers\.invalid"),
    ):
        client.backbones()


@pytest.mark.parametrize(
    ("address", "instead"),
    [("dns://host:50051", "dns:///host:50051"), ("dns:///host", "dns:///host:50051")],
)
def test_a_name_in_another_form_is_refused(address: str, instead: str) -> None:
    with pytest.raises(trunkline.InvalidArgument, match=instead):
        check_address(address)


def test_every_call_about_a_tenant_names_it_for_proxies(client: Client, recorder: Recorder) -> None:
    client.backbones()
    trained(client)
    client.predict("acme/mood", ["fine"])
    list(client.list_heads("acme"))
    told = {
        method: row.get(TENANT)
        for (method, _), row in zip(recorder.requests, recorder.metadata, strict=True)
    }
    assert told.pop("ListBackbones") is None
    assert {"CreateHead", "AddExamples", "TrainHead", "Predict", "ListHeads"} <= set(told)
    assert set(told.values()) == {"acme"}
