"""A bad row costs itself alone, says what is wrong, and changes nothing."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from tests.e2e.bounds.checks import SVG, assert_logged, assert_tells_no_secret
from tests.e2e.conftest import TEXTS
from tests.e2e.processes import Running
from tests.e2e.samples import bomb_png, noise_png
from tests.e2e.transports import (
    METHODS,
    Grpc,
    Transport,
    embedding,
    image,
    text,
)
from trunkline import Backbone
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2


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
