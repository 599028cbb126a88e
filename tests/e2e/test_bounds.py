"""Bad input costs its own row or request alone, says what is wrong, and changes nothing."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator

import grpc
import httpx
import numpy as np
import pytest
from google.protobuf.message import Message
from safetensors.numpy import save

from tests.e2e.conftest import IMAGES, TEXTS
from tests.e2e.processes import Running
from tests.e2e.samples import Labelled, bomb_png, noise_png
from tests.e2e.transports import (
    METHODS,
    Grpc,
    Refused,
    Rest,
    Transport,
    accepted,
    embedding,
    image,
    json_body,
    refusal,
    text,
)
from trunkline import Backbone, Client, Head
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2, prediction_pb2

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9"/></svg>'
TENANT = "tenants/bounds"
FORBIDDEN = ("Traceback", 'File "', ".py", "site-packages", "/work", "/home", "/tmp")


@pytest.fixture(scope="session")
def heads(client: Client) -> dict[str, str]:
    """Head names by modality."""
    for name, backbone in (("image", IMAGES), ("text", TEXTS)):
        client.create_head(f"bounds/{name}", backbone)
    good: dict[str, list[bytes] | list[str]] = {
        "image": [noise_png(i) for i in range(4)],
        "text": ["a", "b", "c", "d"],
    }
    for name, inputs in good.items():
        client.upload(f"bounds/{name}", [(item, f"l{i % 2}") for i, item in enumerate(inputs)])
        client.train(f"bounds/{name}")
    return {name: f"{TENANT}/heads/{name}" for name in good}


@pytest.fixture
def _unchanged(client: Client, heads: dict[str, str]) -> Iterator[None]:
    """Fails a test after which the store is not as it was."""
    before = state(client)
    yield
    assert state(client) == before


def state(client: Client) -> list[Head]:
    return list(client.list_heads("bounds"))


def truncated_jpeg() -> bytes:
    import io

    from PIL import Image

    file = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "JPEG")
    return file.getvalue()[: len(file.getvalue()) // 2]


def vector(length: int, value: float = 0.1) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.full(length, value, np.float32)


def pixels(shape: tuple[int, ...], dtype: str, size: int) -> common_pb2.Input:
    tensor = common_pb2.Tensor(dtype=dtype, shape=shape, data=b"\0" * size)
    return common_pb2.Input(pixels=tensor)


BAD_ROWS: dict[str, tuple[str, Callable[[str], common_pb2.Input], str, str, str]] = {
    "decompression bomb": (
        "image",
        lambda _: image(bomb_png()),
        "INVALID_ARGUMENT",
        "50000000",
        "20000x20000",
    ),
    "truncated JPEG": (
        "image",
        lambda _: image(truncated_jpeg()),
        "INVALID_ARGUMENT",
        "a complete image",
        "*",
    ),
    "SVG named PNG": (
        "image",
        lambda _: image(SVG),
        "INVALID_ARGUMENT",
        "JPEG, PNG, WebP, GIF, BMP, TIFF",
        "*",
    ),
    "empty image": ("image", lambda _: image(b""), "INVALID_ARGUMENT", "at least 1 byte", "0"),
    "image of 17 MiB": (
        "image",
        lambda _: image(b"\xff" * (17 << 20)),
        "INVALID_ARGUMENT",
        str(16 << 20),
        str(17 << 20),
    ),
    "invalid UTF-8": (
        "text",
        lambda _: common_pb2.Input(text_utf8=b"ab\xff"),
        "INVALID_ARGUMENT",
        "valid UTF-8",
        "byte 2",
    ),
    "text of 10 MB": (
        "text",
        lambda _: text("x" * 10_000_000),
        "INVALID_ARGUMENT",
        "65536",
        "10000000",
    ),
    "empty text": ("text", lambda _: text(""), "INVALID_ARGUMENT", "at least 1 byte", "0"),
    "no input": ("text", lambda _: common_pb2.Input(), "INVALID_ARGUMENT", "one kind", "none"),
    "malformed digest": (
        "text",
        lambda _: common_pb2.Input(digest="xyz"),
        "INVALID_ARGUMENT",
        "64 hexadecimal digits",
        "xyz",
    ),
    "unknown digest": (
        "text",
        lambda _: common_pb2.Input(digest="0" * 64),
        "NOT_FOUND",
        "",
        "0" * 64,
    ),
    "image for a text head": (
        "text",
        lambda _: image(noise_png(1)),
        "INVALID_ARGUMENT",
        "text",
        "image",
    ),
    "text for an image head": (
        "image",
        lambda _: text("hello"),
        "INVALID_ARGUMENT",
        "image",
        "text",
    ),
    "embedding of wrong dimension": (
        "text",
        lambda f: embedding(f, vector(7)),
        "INVALID_ARGUMENT",
        "[384]",
        "[7]",
    ),
    "embedding of another backbone": (
        "text",
        lambda _: embedding("0" * 64, vector(384)),
        "FAILED_PRECONDITION",
        "*",
        "0" * 64,
    ),
    "NaN in an embedding": (
        "text",
        lambda f: embedding(f, vector(384, math.nan)),
        "INVALID_ARGUMENT",
        "finite",
        "nan",
    ),
    "infinite embedding": (
        "text",
        lambda f: embedding(f, vector(384, math.inf)),
        "INVALID_ARGUMENT",
        "finite",
        "inf",
    ),
    "pixels without data": (
        "image",
        lambda _: pixels((8, 8, 3), "uint8", 0),
        "INVALID_ARGUMENT",
        "192",
        "0",
    ),
    "pixels of huge shape": (
        "image",
        lambda _: pixels((4_000_000_000, 4_000_000_000, 3), "uint8", 3),
        "INVALID_ARGUMENT",
        "*",
        "3",
    ),
    "pixels with alpha": (
        "image",
        lambda _: pixels((2, 2, 4), "uint8", 16),
        "INVALID_ARGUMENT",
        "[height, width, 3]",
        "[2, 2, 4]",
    ),
    "float pixels": (
        "image",
        lambda _: pixels((1, 1, 3), "float32", 12),
        "INVALID_ARGUMENT",
        "uint8",
        "float32",
    ),
}


@pytest.mark.parametrize("name", BAD_ROWS)
@pytest.mark.usefixtures("_unchanged")
def test_bad_row_costs_itself_alone(
    name: str,
    transport: Transport,
    heads: dict[str, str],
    backbones: dict[str, Backbone],
    server: Running,
) -> None:
    modality, make, code, limit, value = BAD_ROWS[name]
    bad = make(backbones[TEXTS].fingerprint)
    good = image(noise_png(0)) if modality == "image" else text("a good neighbour")
    reply = transport.predict(heads[modality], [good, bad, good])
    rows = reply.rows
    assert rows[0].label in ("l0", "l1")
    assert rows[0].scores == rows[2].scores
    error = rows[1].error
    assert error is not None
    assert (error.code, error.row) == (code, 1)
    assert error.message
    assert error.field
    if limit != "*":
        assert error.limit == limit
    assert value in ("*", error.value)
    assert_tells_no_secret(reply.text)
    assert_logged(server, reply.request_id)


@pytest.mark.parametrize("name", BAD_ROWS)
@pytest.mark.usefixtures("_unchanged")
def test_bad_example_and_bad_feedback_are_not_stored(
    name: str, transport: Transport, heads: dict[str, str], backbones: dict[str, Backbone]
) -> None:
    modality, make, code, _, _ = BAD_ROWS[name]
    bad = make(backbones[TEXTS].fingerprint)
    known = image(noise_png(0)) if modality == "image" else text("a")
    added = transport.add(heads[modality], [(known, "l0"), (bad, "l0")])
    assert (added.unchanged, added.failed, added.added) == (1, 1, 0)
    assert [(error.row, error.code) for error in added.errors] == [(1, code)]
    feedback = prediction_pb2.Feedback(id="bad", input=bad, label="l0")
    request = prediction_pb2.SendFeedbackRequest(head=heads[modality], feedback=[feedback])
    receipt = transport.call("SendFeedback", request)
    assert list(receipt.ids) == [""]
    assert [(error.row, error.code) for error in receipt.errors] == [(0, code)]


@pytest.mark.parametrize(
    ("label", "limit"),
    [
        ("", "256"),
        ("x" * 257, "256"),
        ("é" * 129, "256"),
        (" a", "printable"),
        ("a\nb", "printable"),
        ("a\0", "printable"),
    ],
)
@pytest.mark.usefixtures("_unchanged")
def test_bad_label_costs_its_row(
    transport: Transport, heads: dict[str, str], label: str, limit: str
) -> None:
    added = transport.add(heads["text"], [(text("a"), "l0"), (text("new"), label)])
    assert [(e.row, e.code, e.field, e.limit) for e in added.errors] == [
        (1, "INVALID_ARGUMENT", "label", limit)
    ]
    feedback = prediction_pb2.Feedback(input=text("a"), label=label)
    request = prediction_pb2.SendFeedbackRequest(head=heads["text"], feedback=[feedback])
    assert transport.call("SendFeedback", request).errors[0].field == "label"


@pytest.mark.usefixtures("_unchanged")
def test_bad_feedback_id_costs_its_row(transport: Transport, heads: dict[str, str]) -> None:
    for feedback_id in ("with space", "x" * 65):
        feedback = prediction_pb2.Feedback(id=feedback_id, input=text("a"), label="l0")
        request = prediction_pb2.SendFeedbackRequest(head=heads["text"], feedback=[feedback])
        (error,) = transport.call("SendFeedback", request).errors
        assert (error.code, error.field, error.value) == ("INVALID_ARGUMENT", "id", feedback_id)


BAD_REQUESTS: dict[str, tuple[str, Message, str, str, str]] = {
    "unknown head": (
        "Predict",
        prediction_pb2.PredictRequest(head=f"{TENANT}/heads/none", inputs=[text("x")]),
        "NOT_FOUND",
        "",
        f"{TENANT}/heads/none",
    ),
    "no rows": (
        "Predict",
        prediction_pb2.PredictRequest(head=f"{TENANT}/heads/text"),
        "INVALID_ARGUMENT",
        "1024",
        "0",
    ),
    "too many rows": (
        "Predict",
        prediction_pb2.PredictRequest(head=f"{TENANT}/heads/text", inputs=[text("x")] * 1025),
        "INVALID_ARGUMENT",
        "1024",
        "1025",
    ),
    "unknown version": (
        "Predict",
        prediction_pb2.PredictRequest(head=f"{TENANT}/heads/text", inputs=[text("x")], version=99),
        "NOT_FOUND",
        "",
        "99",
    ),
    "heads for other rows": (
        "Predict",
        prediction_pb2.PredictRequest(
            head=f"{TENANT}/heads/text", inputs=[text("x")], heads=["a", "b"]
        ),
        "INVALID_ARGUMENT",
        "1",
        "2",
    ),
    "embed without a backbone loaded": (
        "Embed",
        extraction_pb2.EmbedRequest(tenant=TENANT, backbone="vgg/16", inputs=[text("x")]),
        "FAILED_PRECONDITION",
        f"{IMAGES}, {TEXTS}",
        "vgg/16",
    ),
    "too many to embed": (
        "Embed",
        extraction_pb2.EmbedRequest(tenant=TENANT, inputs=[text("x")] * 1025),
        "INVALID_ARGUMENT",
        "1024",
        "1025",
    ),
    "head on a backbone not loaded": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, head_id="new", backbone="vgg/16"),
        "FAILED_PRECONDITION",
        f"{IMAGES}, {TEXTS}",
        "vgg/16",
    ),
    "head without a backbone": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, head_id="new"),
        "FAILED_PRECONDITION",
        f"{IMAGES}, {TEXTS}",
        "",
    ),
    "unknown family": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(
            parent=TENANT, head_id="new", backbone=TEXTS, spec=heads_pb2.HeadSpec(family="magic")
        ),
        "INVALID_ARGUMENT",
        "*",
        "magic",
    ),
    "negative strength": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(
            parent=TENANT, head_id="new", backbone=TEXTS, spec=heads_pb2.HeadSpec(l2=-1)
        ),
        "INVALID_ARGUMENT",
        "*",
        "-1.0",
    ),
    "name too long": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, head_id="x" * 64, backbone=TEXTS),
        "INVALID_ARGUMENT",
        "*",
        "x" * 64,
    ),
    "name of a bad alphabet": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, head_id="a b", backbone=TEXTS),
        "INVALID_ARGUMENT",
        "*",
        "a b",
    ),
    "name with a line break": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, head_id="ab\n", backbone=TEXTS),
        "INVALID_ARGUMENT",
        "*",
        "ab\n",
    ),
    "name that climbs": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, head_id="..", backbone=TEXTS),
        "INVALID_ARGUMENT",
        "*",
        "..",
    ),
    "empty name": (
        "CreateHead",
        heads_pb2.CreateHeadRequest(parent=TENANT, backbone=TEXTS),
        "INVALID_ARGUMENT",
        "*",
        "",
    ),
    "huge page": (
        "ListHeads",
        heads_pb2.ListHeadsRequest(parent=TENANT, page_size=1001),
        "INVALID_ARGUMENT",
        "1000",
        "1001",
    ),
    "largest page size": (
        "ListExamples",
        heads_pb2.ListExamplesRequest(head=f"{TENANT}/heads/text", page_size=2**32 - 1),
        "INVALID_ARGUMENT",
        "1000",
        str(2**32 - 1),
    ),
    "garbage page token": (
        "ListHeads",
        heads_pb2.ListHeadsRequest(parent=TENANT, page_token="%%%"),
        "INVALID_ARGUMENT",
        "from an earlier page",
        "%%%",
    ),
    "page token of another list": (
        "ListExamples",
        heads_pb2.ListExamplesRequest(head=f"{TENANT}/heads/text", page_token="ImEi"),
        "INVALID_ARGUMENT",
        "from an earlier page",
        "ImEi",
    ),
    "page token of a huge number": (
        "ListExamples",
        heads_pb2.ListExamplesRequest(
            head=f"{TENANT}/heads/text", page_token="OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"
        ),
        "INVALID_ARGUMENT",
        "from an earlier page",
        "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk5",
    ),
    "page token that is not ASCII": (
        "ListHeadVersions",
        heads_pb2.ListHeadVersionsRequest(head=f"{TENANT}/heads/text", page_token="é"),
        "INVALID_ARGUMENT",
        "from an earlier page",
        "é",
    ),
    "unknown training": (
        "GetTraining",
        heads_pb2.GetTrainingRequest(name=f"{TENANT}/heads/text/trainings/none"),
        "NOT_FOUND",
        "",
        "none",
    ),
    "version 0": (
        "GetHeadVersion",
        heads_pb2.GetHeadVersionRequest(name=f"{TENANT}/heads/text/versions/0"),
        "INVALID_ARGUMENT",
        "*",
        f"{TENANT}/heads/text/versions/0",
    ),
    "version beyond 64 bits": (
        "ActivateHeadVersion",
        heads_pb2.ActivateHeadVersionRequest(name=f"{TENANT}/heads/text/versions/{10**30}"),
        "INVALID_ARGUMENT",
        "*",
        f"{TENANT}/heads/text/versions/{10**30}",
    ),
    "delete of an unknown head": (
        "DeleteHead",
        heads_pb2.DeleteHeadRequest(name=f"{TENANT}/heads/none"),
        "NOT_FOUND",
        "",
        f"{TENANT}/heads/none",
    ),
    "too many digests": (
        "FindMissingInputs",
        heads_pb2.FindMissingInputsRequest(
            head=f"{TENANT}/heads/text", digests=["0" * 64] * 10_001
        ),
        "INVALID_ARGUMENT",
        "10000",
        "10001",
    ),
    "examples for an unknown head": (
        "AddExamples",
        heads_pb2.AddExamplesRequest(
            head=f"{TENANT}/heads/none", examples=[heads_pb2.NewExample(input=text("x"))]
        ),
        "NOT_FOUND",
        "",
        f"{TENANT}/heads/none",
    ),
    "too many examples": (
        "AddExamples",
        heads_pb2.AddExamplesRequest(
            head=f"{TENANT}/heads/text", examples=[heads_pb2.NewExample(input=text("x"))] * 1025
        ),
        "INVALID_ARGUMENT",
        "1024",
        "1025",
    ),
    "feedback for an unknown head": (
        "SendFeedback",
        prediction_pb2.SendFeedbackRequest(
            head=f"{TENANT}/heads/none",
            feedback=[prediction_pb2.Feedback(input=text("x"), label="a")],
        ),
        "NOT_FOUND",
        "",
        f"{TENANT}/heads/none",
    ),
    "training of an unknown head": (
        "TrainHead",
        heads_pb2.TrainHeadRequest(head=f"{TENANT}/heads/none"),
        "NOT_FOUND",
        "",
        f"{TENANT}/heads/none",
    ),
    "training with a bad spec": (
        "TrainHead",
        heads_pb2.TrainHeadRequest(
            head=f"{TENANT}/heads/text", spec=heads_pb2.HeadSpec(l2=math.inf)
        ),
        "INVALID_ARGUMENT",
        "*",
        "inf",
    ),
    "export of an unknown version": (
        "ExportHead",
        heads_pb2.ExportHeadRequest(name=f"{TENANT}/heads/text", version=77),
        "NOT_FOUND",
        "",
        "77",
    ),
}


@pytest.mark.parametrize("name", BAD_REQUESTS)
@pytest.mark.usefixtures("_unchanged")
def test_bad_request_says_what_is_wrong(
    name: str, transport: Transport, heads: dict[str, str], server: Running
) -> None:
    method, request, code, limit, value = BAD_REQUESTS[name]
    with pytest.raises(Refused) as refused:
        transport.call(method, request)
    error = refused.value
    assert error.code == code, error
    assert error.field
    if limit != "*":
        assert error.limit == limit
    assert error.value == value
    assert_tells_no_secret(error.text)
    assert_logged(server, error.request_id)


def safetensors_file(header: object, data: bytes = b"") -> bytes:
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(encoded).to_bytes(8, "little") + encoded + data


def tensors(**arrays: object) -> bytes:
    return save({name: np.asarray(array) for name, array in arrays.items()})


WEIGHT, BIAS = np.ones((2, 384), np.float32), np.zeros(2, np.float32)
SPAN = {"dtype": "F32", "shape": [2, 384], "data_offsets": [0, 3072]}
BAD_WEIGHTS: dict[str, tuple[bytes, list[str]]] = {
    "empty": (b"", []),
    "garbage": (b"\xff" * 100, []),
    "pickle": (b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x02os", []),
    "header longer than the file": ((2**62).to_bytes(8, "little") + b"{}", []),
    "header is no JSON": (safetensors_file(b"{]"), []),
    "header is nested deeply": (safetensors_file(b'{"a":' * 50_000), []),
    "header is a list": (safetensors_file([]), []),
    "offsets beyond the file": (safetensors_file({"weight": SPAN}), ["a", "b"]),
    "offsets overlap": (safetensors_file({"weight": SPAN, "bias": SPAN}, b"\0" * 3072), ["a", "b"]),
    "shape that overflows": (
        safetensors_file({"weight": {**SPAN, "shape": [2**62, 2**62]}}, b"\0" * 3072),
        ["a", "b"],
    ),
    "no bias": (tensors(weight=WEIGHT), ["a", "b"]),
    "other tensors": (tensors(weight=WEIGHT, bias=BIAS, extra=BIAS), ["a", "b"]),
    "integers": (tensors(weight=WEIGHT.astype(np.int64), bias=BIAS), ["a", "b"]),
    "wrong dimension": (tensors(weight=WEIGHT[:, :7], bias=BIAS), ["a", "b"]),
    "wrong axes": (tensors(weight=WEIGHT[0], bias=BIAS), ["a", "b"]),
    "wrong count of biases": (tensors(weight=WEIGHT, bias=np.zeros(3, np.float32)), ["a", "b"]),
    "NaN": (tensors(weight=WEIGHT * np.nan, bias=BIAS), ["a", "b"]),
    "no labels": (tensors(weight=WEIGHT, bias=BIAS), []),
    "too few labels": (tensors(weight=WEIGHT, bias=BIAS), ["a"]),
    "a label twice": (tensors(weight=WEIGHT, bias=BIAS), ["a", "a"]),
    "an empty label": (tensors(weight=WEIGHT, bias=BIAS), ["a", ""]),
    "a label too long": (tensors(weight=WEIGHT, bias=BIAS), ["a", "x" * 257]),
    "one class": (tensors(weight=WEIGHT[:1], bias=BIAS[:1]), ["a"]),
    "too many classes": (
        tensors(weight=np.zeros((1001, 384), np.float32), bias=np.zeros(1001, np.float32)),
        [str(i) for i in range(1001)],
    ),
}


@pytest.mark.parametrize("name", BAD_WEIGHTS)
@pytest.mark.usefixtures("_unchanged")
def test_bad_weights_are_refused(
    name: str, transport: Transport, backbones: dict[str, Backbone], server: Running
) -> None:
    data, labels = BAD_WEIGHTS[name]
    request = heads_pb2.ImportHeadRequest(
        parent=TENANT,
        head_id="imported",
        backbone=TEXTS,
        fingerprint=backbones[TEXTS].fingerprint,
        safetensors=data,
        labels=labels,
    )
    with pytest.raises(Refused) as refused:
        transport.call("ImportHead", request)
    assert refused.value.code == "INVALID_ARGUMENT", refused.value
    assert refused.value.field
    assert_tells_no_secret(refused.value.text)
    assert_logged(server, refused.value.request_id)


@pytest.mark.usefixtures("_unchanged")
def test_weights_for_another_fingerprint_are_refused(transport: Transport) -> None:
    request = heads_pb2.ImportHeadRequest(
        parent=TENANT,
        head_id="imported",
        backbone=TEXTS,
        fingerprint="f" * 64,
        safetensors=tensors(weight=WEIGHT, bias=BIAS),
        labels=["a", "b"],
    )
    with pytest.raises(Refused) as refused:
        transport.call("ImportHead", request)
    assert (refused.value.code, refused.value.field) == ("FAILED_PRECONDITION", "fingerprint")
    assert refused.value.value == "f" * 64


@pytest.mark.parametrize("method", sorted(METHODS))
@pytest.mark.usefixtures("_unchanged")
def test_bytes_that_are_no_message_are_refused(
    server: Running, heads: dict[str, str], method: str
) -> None:
    connected = Grpc(server.grpc)
    try:
        with pytest.raises(Refused) as refused:
            connected.exchange(METHODS[method], [b"\xff\xff\xff\xff"])
    finally:
        connected.close()
    assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "request")
    assert_tells_no_secret(refused.value.text)
    assert_logged(server, refused.value.request_id)


@pytest.mark.parametrize("path", ["/trunkline.v1.HeadService/Nothing", "/no.Service/Nothing"])
def test_unknown_method_is_unimplemented(server: Running, path: str) -> None:
    way = Grpc(server.grpc)
    with pytest.raises(grpc.RpcError) as refused:
        way.channel.unary_unary(path)(b"", timeout=30)
    way.close()
    assert refusal(refused.value).code == "UNIMPLEMENTED"


def test_message_over_the_limit_is_refused_before_it_is_read(
    server: Running, heads: dict[str, str]
) -> None:
    way = Grpc(server.grpc)
    with pytest.raises(Refused) as refused:
        way.exchange(METHODS["Predict"], [b"\0" * ((64 << 20) + 1)])
    way.close()
    error = refused.value
    assert error.code == "RESOURCE_EXHAUSTED"
    assert str(64 << 20) in error.message
    assert str((64 << 20) + 1) in error.message


class Body:
    """Requests of REST that are wrong before they are messages."""

    json = "application/json"
    path = f"/v1/{TENANT}/heads/text:predict"


@pytest.mark.parametrize(
    ("content", "status", "field"),
    [
        (b"{", 400, "body"),
        (b"\xff\xfe", 400, "body"),
        (b"[]", 400, "body"),
        (b'"text"', 400, "body"),
        (b"[" * 100_000, 400, "body"),
        (b'{"a":' * 100_000, 400, "body"),
        (b'{"inputs":' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, "body"),
        (b'{"unknown_field": 1}', 400, "body"),
        (b'{"inputs": [{"text": 1}]}', 400, "body"),
        (b'{"inputs": [{"text": "a", "image": "YQ=="}]}', 400, "body"),
        (b'{"inputs": [{"text": "a"}], "top_k": -1}', 400, "body"),
        (b'{"inputs": [{"text": "a"}], "top_k": 1e99}', 400, "body"),
        (b'{"inputs": [{"text": "a"}], "top_k": NaN}', 400, "body"),
        (b'{"inputs": [{"text": "\\ud800"}]}', 400, "body"),
        (b'{"head": "tenants/other/heads/text", "inputs": [{"text": "a"}]}', 400, "head"),
        (b'{"inputs": [{"url": "http://127.0.0.1/"}]}', 400, "body"),
    ],
    ids=range(16),
)
@pytest.mark.usefixtures("_unchanged")
def test_bad_json_is_refused(
    http: httpx.Client, server: Running, content: bytes, status: int, field: str
) -> None:
    response = http.post(Body.path, content=content, headers={"content-type": Body.json})
    assert (response.status_code, response.json()["field"]) == (status, field)
    assert_tells_no_secret(response.text)
    assert_logged(server, response.json()["request_id"])


@pytest.mark.parametrize("path", ["/predict", "/embed", Body.path, f"/v1/{TENANT}/heads"])
@pytest.mark.parametrize(
    "content_type",
    [
        "application/vnd.bentoml+pickle",
        "application/pickle",
        "application/octet-stream",
        "application/x-protobuf",
        "application/xml",
        "image/png",
    ],
)
@pytest.mark.usefixtures("_unchanged")
def test_other_media_types_are_refused(
    http: httpx.Client, server: Running, path: str, content_type: str
) -> None:
    pickle = b"cposix\nsystem\n(S'true'\ntR."
    response = http.post(path, content=pickle, headers={"content-type": content_type})
    assert response.status_code == 415
    problem = response.json()
    assert (problem["field"], problem["value"]) == ("content-type", content_type)
    assert_logged(server, problem["request_id"])


@pytest.mark.parametrize("path", ["/predict", Body.path])
@pytest.mark.parametrize("announced", [True, False])
@pytest.mark.usefixtures("_unchanged")
def test_body_over_the_limit_is_refused(
    http: httpx.Client, server: Running, path: str, announced: bool
) -> None:
    limit = int((64 << 20) * 1.4)
    chunk = b" " * (1 << 20)

    def body() -> Iterator[bytes]:
        for _ in range(limit // len(chunk) + 1):
            yield chunk

    content: bytes | Iterator[bytes] = b"".join(body()) if announced else body()
    response = http.post(path, content=content, headers={"content-type": Body.json})
    problem = response.json()
    assert response.status_code in (400, 413)
    assert (problem["field"], problem["limit"]) == ("body", str(limit))
    assert int(problem["value"]) > limit
    assert_logged(server, problem["request_id"])


@pytest.mark.parametrize(
    ("verb", "path", "status"),
    [
        ("GET", "/v1/nothing", 404),
        ("DELETE", f"/v1/{TENANT}/heads", 405),
        ("POST", f"/v1/{TENANT}/heads/text:nothing", 405),
        ("POST", "/nothing", 404),
    ],
)
def test_unknown_path_is_a_problem_document(
    http: httpx.Client, server: Running, verb: str, path: str, status: int
) -> None:
    response = http.request(verb, path)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["status"] == status
    assert response.json()["code"] == "UNIMPLEMENTED"
    assert_tells_no_secret(response.text)
    assert_logged(server, response.json()["request_id"])


@pytest.mark.parametrize(
    ("query", "field"),
    [("page_size=x", "body"), ("unknown=1", "body"), ("page_size=-1", "body")],
)
def test_bad_query_is_refused(http: httpx.Client, query: str, field: str) -> None:
    with pytest.raises(Refused) as refused:
        accepted(http.get(f"/v1/{TENANT}/heads?{query}"))
    assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", field)


def test_bad_timeout_header_is_refused(http: httpx.Client, server: Running) -> None:
    for seconds in ("soon", "-1", "nan", "inf"):
        response = http.get(f"/v1/{TENANT}/heads", headers={"X-Request-Timeout": seconds})
        assert response.status_code == 400
        assert response.json()["field"] == "x-request-timeout"
        assert_logged(server, response.json()["request_id"])


@pytest.mark.usefixtures("_unchanged")
def test_bad_multipart_costs_its_row_or_its_request(
    http: httpx.Client, heads: dict[str, str], photos: Labelled
) -> None:
    path = f"/v1/{TENANT}/heads/image:predict"
    files = [("image", ("good.png", photos[0][0])), ("image", ("fake.png", SVG))]
    good, bad = accepted(http.post(path, files=files)).json()["predictions"]
    assert good["label"] in ("l0", "l1")
    assert bad["error"]["code"] == "INVALID_ARGUMENT"
    other = http.post(path, files=[("head", ("x", b"x"))])
    assert (other.status_code, other.json()["field"]) == (400, "head")
    header = {"content-type": "multipart/form-data; boundary=x"}
    broken = http.post(path, content=b"--y\r\nnonsense", headers=header)
    assert broken.status_code == 400
    assert_tells_no_secret(broken.text)


@pytest.mark.usefixtures("_unchanged")
def test_bad_row_in_a_stream_costs_itself_alone(server: Running, heads: dict[str, str]) -> None:
    """Rows are counted over the whole stream."""
    bad = heads_pb2.NewExample(input=common_pb2.Input(text_utf8=b"\xff"), label="l0")
    good = heads_pb2.NewExample(input=text("a"), label="l0")
    messages = [
        heads_pb2.AddExamplesRequest(head=heads["text"], examples=[good, bad]),
        heads_pb2.AddExamplesRequest(examples=[bad, good]),
    ]
    connected = Grpc(server.grpc)
    try:
        encoded = [message.SerializeToString() for message in messages]
        reply, _ = connected.exchange(METHODS["AddExamples"], encoded)
    finally:
        connected.close()
    assert [error.row for error in reply.errors] == [1, 2]
    assert (reply.unchanged, reply.failed) == (2, 2)


def test_rest_and_grpc_say_the_same(server: Running, heads: dict[str, str]) -> None:
    over_grpc, over_rest = Grpc(server.grpc), Rest(server.rest)
    told = []
    for connected in (over_grpc, over_rest):
        with pytest.raises(Refused) as refused:
            connected.call("ListHeads", heads_pb2.ListHeadsRequest(parent=TENANT, page_size=5000))
        error = refused.value
        told.append((error.code, error.message, error.field, error.limit, error.value))
        connected.close()
    assert told[0] == told[1]


def test_json_form_of_a_message_is_what_rest_takes(
    http: httpx.Client, heads: dict[str, str]
) -> None:
    request = prediction_pb2.PredictRequest(head=heads["text"], inputs=[text("a")])
    accepted(http.post(Body.path, content=json_body(request)))


def assert_tells_no_secret(text: str) -> None:
    for secret in FORBIDDEN:
        assert secret not in text, text


def assert_logged(server: Running, request_id: str) -> None:
    assert request_id
    assert request_id in server.log.read_text()
