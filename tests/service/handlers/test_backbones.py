"""Who may change what a server runs."""

from __future__ import annotations

import pytest

from service.addresses import is_loopback
from service.concurrency.tasks import UninterruptedTasks
from service.errors import InvalidRequest, PermissionDenied
from service.handlers.backbones import Admin
from service.requests.calls import Call
from service.transport.grpc_server import is_local
from tests.service.hand_extractor import HandExtractor
from trunkline.v1 import admin_pb2


@pytest.mark.parametrize(
    ("peer", "local"),
    [
        ("ipv4:127.0.0.1:50051", True),
        ("ipv4:127.8.9.10:1", True),
        ("ipv6:[::1]:50051", True),
        ("ipv6:%5B::1%5D:50051", True),
        ("ipv6:%5B::ffff:127.0.0.1%5D:50051", True),
        ("unix:", True),
        ("unix:/run/trunkline.sock", True),
        ("ipv4:192.0.2.1:50051", False),
        ("ipv4:0.0.0.0:50051", False),
        ("ipv6:[2001:db8::1]:50051", False),
        ("ipv6:%5B::ffff:192.0.2.1%5D:50051", False),
        ("127.0.0.1:50051", False),
        ("", False),
    ],
)
def test_peer_is_local_on_loopback_and_unix_sockets_alone(peer: str, local: bool) -> None:
    assert is_local(peer) is local


@pytest.mark.parametrize("host", ["127.0.0.1.example.org", "localhost.example.org", "", "::2"])
def test_names_that_look_like_loopback_are_not(host: str) -> None:
    assert not is_loopback(host)


async def test_callers_on_other_machines_are_refused() -> None:
    admin = Admin(HandExtractor(), UninterruptedTasks())
    call = Call("LoadBackbone", "grpc", "", None, local=False)
    with pytest.raises(PermissionDenied, match="own machine"):
        await admin.load(admin_pb2.LoadBackboneRequest(name="tiny/text"), call)
    with pytest.raises(PermissionDenied):
        await admin.unload(admin_pb2.UnloadBackboneRequest(name="tiny/text"), call)


async def test_empty_name_is_refused_by_field() -> None:
    call = Call("LoadBackbone", "grpc", "", None, local=True)
    with pytest.raises(InvalidRequest) as caught:
        await Admin(HandExtractor(), UninterruptedTasks()).load(
            admin_pb2.LoadBackboneRequest(), call
        )
    assert caught.value.field == "name"
