"""Backbones are loaded and unloaded while the server runs, by whoever is on its machine."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from tests.e2e.conftest import IMAGES, TEXTS, Start
from tests.e2e.processes import Running, extractor_command, serve_command
from tests.e2e.samples import Labelled
from tests.e2e.transports import Grpc, Refused, Rest, Transport, image, text
from trunkline import Client
from trunkline.v1 import admin_pb2, extraction_pb2

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def open_server(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Running]:
    """A server with one backbone, which other machines could reach, and which downloads nothing."""
    folder = tmp_path_factory.mktemp("open")
    options = ("--host", "0.0.0.0", "--insecure", "--backbone", TEXTS, "--offline")
    caches = {"TORCH_HOME": str(folder), "HF_HOME": str(folder)}
    running = Running.start(serve_command(folder / "data", *options), folder / "log", caches)
    try:
        yield running.wait_until_serving()
    finally:
        running.close()


def connect(server: Running, kind: str, host: str) -> Transport:
    port = (server.grpc if kind == "grpc" else server.rest).rpartition(":")[2]
    return Grpc(f"{host}:{port}") if kind == "grpc" else Rest(f"http://{host}:{port}")


@pytest.fixture(params=["grpc", "rest"])
def way(open_server: Running, request: pytest.FixtureRequest) -> Iterator[Transport]:
    connected = connect(open_server, request.param, "127.0.0.1")
    yield connected
    connected.close()


def load(way: Transport, name: str) -> extraction_pb2.Backbone:
    reply: admin_pb2.LoadBackboneResponse = way.call(
        "LoadBackbone", admin_pb2.LoadBackboneRequest(name=name)
    )
    return reply.backbone


def unload(way: Transport, name: str) -> list[str]:
    reply: admin_pb2.UnloadBackboneResponse = way.call(
        "UnloadBackbone", admin_pb2.UnloadBackboneRequest(name=name)
    )
    return [backbone.name for backbone in reply.backbones]


def loaded(way: Transport) -> list[str]:
    reply = way.call("ListBackbones", extraction_pb2.ListBackbonesRequest())
    return [backbone.name for backbone in reply.backbones]


def test_backbone_serves_from_its_loading_to_its_unloading(
    way: Transport, photos: Labelled
) -> None:
    photo = image(photos[0][0])
    with pytest.raises(Refused) as refused:
        way.embed("acme", [photo], IMAGES)
    assert refused.value.code == "FAILED_PRECONDITION"
    assert IMAGES in refused.value.message
    first = load(way, IMAGES)
    assert (first.name, first.ready) == (IMAGES, True)
    assert first.tail_blocks[0] == first.cut
    assert load(way, IMAGES) == first
    assert loaded(way) == [TEXTS, IMAGES]
    (row,) = way.embed("acme", [photo], IMAGES).rows
    assert row.vector is not None
    assert row.vector.shape == (first.dim,)
    assert unload(way, IMAGES) == [TEXTS]
    with pytest.raises(Refused) as refused:
        way.embed("bolt", [photo], IMAGES)
    assert refused.value.code == "FAILED_PRECONDITION"


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("", "INVALID_ARGUMENT"),
        ("no/such", "INVALID_ARGUMENT"),
        ("timm/resnet18.a1_in1k", "FAILED_PRECONDITION"),
    ],
)
def test_backbone_that_is_not_there_is_refused_with_the_reason(
    way: Transport, name: str, code: str
) -> None:
    with pytest.raises(Refused) as refused:
        load(way, name)
    assert (refused.value.code, refused.value.field) == (code, "name")
    assert name in refused.value.message
    assert ("offline is set" in refused.value.message) is (code == "FAILED_PRECONDITION")
    assert loaded(way) == [TEXTS]


def test_backbone_that_is_not_loaded_cannot_be_unloaded(way: Transport) -> None:
    with pytest.raises(Refused) as refused:
        unload(way, IMAGES)
    assert refused.value.code == "FAILED_PRECONDITION"


@pytest.mark.parametrize("kind", ["grpc", "rest"])
def test_other_machines_are_refused(open_server: Running, kind: str) -> None:
    here = [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family is socket.AF_INET and not address.address.startswith("127.")
    ]
    if not here:
        pytest.skip("this machine has no address but loopback")
    way = connect(open_server, kind, here[0])
    for ask in (load, unload):
        with pytest.raises(Refused) as refused:
            ask(way, TEXTS)
        assert refused.value.code == "PERMISSION_DENIED"
    assert loaded(way) == [TEXTS]
    way.close()


def test_heads_of_an_unloaded_backbone_say_so_and_come_back_with_it(
    open_server: Running, way: Transport, sentences: list[tuple[str, str]]
) -> None:
    head = f"{way.name}/sentiment"
    with connected_client(open_server) as client:
        client.create_head(head, TEXTS)
        client.upload(head, sentences)
        client.train(head)
        name = f"tenants/{way.name}/heads/sentiment"
        before = way.predict(name, [text("a fine day")]).rows
        assert unload(way, TEXTS) == []
        with pytest.raises(Refused) as refused:
            way.predict(name, [text("something new")])
        assert refused.value.code == "FAILED_PRECONDITION"
        assert TEXTS in refused.value.message
        load(way, TEXTS)
        assert way.predict(name, [text("a fine day")]).rows[0].label == before[0].label
        assert way.predict(name, [text("something new")]).rows[0].error is None


def test_server_with_an_extractor_sends_to_it_and_notices_what_changes(
    tmp_path: Path, start: Start
) -> None:
    extractor = start(extractor_command("--port", "0"))
    server = start(serve_command(tmp_path / "data", "--extractor", extractor.grpc))
    ours, theirs = Grpc(server.grpc), Grpc(extractor.grpc)
    until_loaded(ours, [TEXTS])
    for ask in (load, unload):
        with pytest.raises(Refused) as refused:
            ask(ours, TEXTS)
        assert (refused.value.code, refused.value.field) == ("FAILED_PRECONDITION", "extractor")
        assert extractor.grpc in refused.value.message
    load(theirs, IMAGES)
    until_loaded(ours, [TEXTS, IMAGES])
    unload(theirs, TEXTS)
    until_loaded(ours, [IMAGES])
    with pytest.raises(Refused) as refused:
        ours.embed("acme", [text("a fine day")], TEXTS)
    assert refused.value.code == "FAILED_PRECONDITION"
    ours.close()
    theirs.close()


@pytest.mark.parametrize("engine", ["onnxruntime", pytest.param("torch", marks=pytest.mark.long)])
def test_unloading_gives_memory_back(engine: str, start: Start) -> None:
    running = start(extractor_command("--port", "0", "--engine", engine, "--device", "cpu"))
    way, process = Grpc(running.grpc), psutil.Process(running.pid)
    left = []
    for cycle in range(6):
        load(way, TEXTS)
        way.embed("acme", [text(f"sentence {cycle} {row}") for row in range(16)], TEXTS)
        full = process.memory_info().rss
        unload(way, TEXTS)
        left.append(process.memory_info().rss)
        assert full - left[-1] > 40 * MIB
    # A load takes 65 MB or more. What the second cycle has left may shift a little, not grow.
    assert min(left[-2:]) - left[1] < 24 * MIB, [rss // MIB for rss in left]
    way.close()


def connected_client(server: Running) -> Client:
    return Client(f"127.0.0.1:{server.grpc.rpartition(':')[2]}")


def until_loaded(way: Transport, names: list[str]) -> None:
    """The server is told by the extractor, which takes a moment."""
    for _ in range(10_000):
        with suppress(Refused):  # it has not been told anything yet
            if loaded(way) == names:
                return
    raise AssertionError(f"the server has not heard of {names}")
