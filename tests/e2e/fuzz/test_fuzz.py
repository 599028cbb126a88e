"""Nothing that is sent is answered with a fault of the server's, and the server lives on."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from service.transport.methods import OF_THE_SERVER, TAILS, Method, methods_of
from tests.e2e.access.asking import Asking
from tests.e2e.conftest import IMAGES, TEXTS
from tests.e2e.fuzz.conftest import Target, check
from tests.e2e.fuzz.made import changed, messages
from tests.e2e.processes import ROOT
from tests.models.image_samples import sound
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2

METHODS = [method for method in methods_of(*OF_THE_SERVER) if method.name != "UnloadBackbone"]
"""Without the one that takes away what all others are tried on."""

FEW, SOME, MANY = 4, 12, 500
RUNS = [SOME, pytest.param(MANY * 5, marks=pytest.mark.long)]
PICTURES = [data for _, data in sound() if len(data) < 20_000]
BOUNDARY = b"XYZ"


@pytest.fixture(autouse=True)
def _alive(target: Target) -> Iterator[None]:
    target.restore()
    yield
    target.check_alive()


def try_with(made: st.SearchStrategy[Any], count: int, send: Callable[[Any], None]) -> None:
    """Sends so many examples; a failing one is made smaller, and shown."""

    @settings(
        max_examples=count,
        deadline=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )
    @given(made)
    def run(example: Any) -> None:
        send(example)

    run()


def test_few_messages_of_every_rpc(target: Target) -> None:
    for method in sorted(METHODS, key=lambda method: method.name.startswith("Delete")):
        send_messages(target, method, target.asking, FEW)


@pytest.mark.long
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_messages_of_every_rpc(target: Target, method: Method) -> None:
    send_messages(target, method, target.asking, MANY)


@pytest.mark.long
@pytest.mark.parametrize("method", list(methods_of(TAILS)), ids=lambda method: method.name)
def test_messages_of_every_rpc_of_an_extractor(target: Target, far: Asking, method: Method) -> None:
    send_messages(target, method, far, MANY)


def send_messages(target: Target, method: Method, asking: Asking, count: int) -> None:
    def send(sent: list[bytes]) -> None:
        check(asking.raw_grpc(method.path, sent, target.headers))

    try_with(_calls_of(method, target), count, send)


def _calls_of(method: Method, target: Target) -> st.SearchStrategy[list[bytes]]:
    """The messages of a call, most of them of the type that they should be."""
    kind: Any = method.request.DESCRIPTOR
    made = messages(kind, target.words).map(lambda message: message.SerializeToString())
    one = made | made | changed([b"\x0a\x02ab\x12\x00"]) | st.binary(max_size=50)
    return st.lists(one, max_size=3 if method.client_streaming else 1)


@pytest.mark.parametrize("count", RUNS)
def test_pictures_that_are_nearly_in_order(target: Target, count: int) -> None:
    def send(pictures: list[bytes]) -> None:
        inputs = [common_pb2.Input(image=data) for data in pictures]
        _embed(target, inputs, IMAGES)

    try_with(st.lists(changed(PICTURES), min_size=1, max_size=4), count, send)


@pytest.mark.parametrize("count", RUNS)
def test_tensors_that_are_nearly_in_order(target: Target, count: int) -> None:
    pixels = common_pb2.Tensor(dtype="uint8", shape=[8, 8, 3], data=bytes(192))
    vector = common_pb2.Tensor(dtype="float32", shape=[384], data=np.ones(384, "<f4").tobytes())
    (fingerprint,) = target.words["fingerprint"]
    embedding = common_pb2.Embedding(fingerprint=fingerprint, vector=vector)
    sound_ones = [common_pb2.Input(pixels=pixels), common_pb2.Input(embedding=embedding)]
    files = [message.SerializeToString() for message in sound_ones]

    def send(inputs: list[Any]) -> None:
        readable = [one for one in map(_input, inputs) if one is not None]
        for backbone in (IMAGES, TEXTS):
            _embed(target, readable, backbone)

    made = changed(files) | messages(common_pb2.Input.DESCRIPTOR, target.words)
    try_with(st.lists(made, min_size=1, max_size=4), count, send)


@pytest.mark.parametrize("count", RUNS)
def test_weights_that_are_nearly_in_order(target: Target, count: int) -> None:
    def send(weights: bytes) -> None:
        request = heads_pb2.ImportHeadRequest(
            parent="tenants/acme",
            head_id="used",
            backbone=TEXTS,
            fingerprint=target.words["fingerprint"][0],
            safetensors=weights,
        )
        path = "/trunkline.v1.HeadService/ImportHead"
        check(target.asking.raw_grpc(path, [request.SerializeToString()], target.headers))

    header = target.weights[: 8 + int.from_bytes(target.weights[:8], "little")]
    try_with(changed([target.weights, header]), count, send)


@pytest.mark.parametrize("count", RUNS)
@pytest.mark.parametrize("path", ["/v1/tenants/acme/heads/used:predict", "/predict", "/embed"])
def test_forms_and_bodies_that_are_nearly_in_order(target: Target, path: str, count: int) -> None:
    lines = [
        b'Content-Disposition: form-data; name="head"\r\n\r\nacme/used',
        b'Content-Disposition: form-data; name="text"; filename="a"\r\n\r\ngood',
        b'Content-Disposition: form-data; name="image"; filename="a.png"\r\n'
        b"Content-Type: image/png\r\n\r\n" + PICTURES[0],
    ]
    form = b"".join(b"--" + BOUNDARY + b"\r\n" + line + b"\r\n" for line in lines)
    files = {
        "multipart/form-data; boundary=" + BOUNDARY.decode(): form + b"--" + BOUNDARY + b"--\r\n",
        "application/x-www-form-urlencoded": b"head=acme%2Fused&text=good&text=%FF",
        "application/json": b'{"head": "acme/used", "inputs": [{"text": "good"}], "top_k": 1}',
    }

    def send(sent: tuple[str, bytes]) -> None:
        media_type, body = sent
        headers = {**dict(target.headers), "content-type": media_type}
        check(target.asking.raw_rest("POST", path, content=body, headers=headers))

    kinds = [st.tuples(st.just(kind), changed([data])) for kind, data in files.items()]
    try_with(st.one_of(kinds), count, send)


@pytest.mark.long
def test_what_schemathesis_makes_of_the_openapi_document(target: Target, tmp_path: Path) -> None:
    # A deadline of its own that a request misses is no fault, nor is a full server.
    config = tmp_path / "schemathesis.toml"
    config.write_text(
        '[checks]\nnot_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503", "504"]\n'
    )
    command = [
        *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
        *("run", f"{target.running.rest}/openapi.json", "--seed", "1", "--no-shrink"),
        *("--phases", "fuzzing", "--checks", "not_a_server_error"),
        *("--max-examples", "60", "--exclude-path", "/v1/backbones:unload"),
        *("--header", f"Authorization: Bearer {target.key}"),
    ]
    ended = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=580, check=False
    )
    assert ended.returncode == 0, ended.stdout[-6000:] + ended.stderr[-2000:]
    assert re.search(r"Tested: +\d{2}", ended.stdout), ended.stdout[-3000:]


def _input(given: Any) -> common_pb2.Input | None:
    if not isinstance(given, bytes):
        message: common_pb2.Input = given
        return message
    try:
        return common_pb2.Input.FromString(given)
    except DecodeError:
        return None


def _embed(target: Target, inputs: list[common_pb2.Input], backbone: str) -> None:
    request = extraction_pb2.EmbedRequest(tenant="tenants/acme", backbone=backbone, inputs=inputs)
    path = "/trunkline.v1.ExtractionService/Embed"
    answer = target.asking.raw_grpc(
        path, [request.SerializeToString()], target.headers, extraction_pb2.EmbedResponse
    )
    check(answer)
    if answer.reply is not None:
        assert all(error.code != "INTERNAL" for error in answer.reply.errors), answer.reply.errors
