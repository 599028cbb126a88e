"""Inputs off the wire: checked before anything is done with them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from models import InputLimits, Modality
from service.errors import FingerprintMismatch, InvalidRequest
from service.requests.inputs import Kind, check_embedding, read_input
from service.requests.tensors import from_tensor, to_tensor
from trunkline.digest import embedding_digest, image_digest, pixels_digest, text_digest
from trunkline.v1 import common_pb2

LIMITS = InputLimits(max_image_bytes=10, max_pixels=6, max_side=5, max_text_bytes=8)


def tensor(array: NDArray[np.generic]) -> common_pb2.Tensor:
    return to_tensor(array)


def pixels(height: int, width: int, channels: int = 3) -> common_pb2.Tensor:
    return tensor(np.zeros((height, width, channels), np.uint8))


def embedding(values: object, fingerprint: str = "f") -> common_pb2.Embedding:
    vector = tensor(np.asarray(values, np.float32))
    return common_pb2.Embedding(fingerprint=fingerprint, vector=vector)


MALFORMED: list[tuple[common_pb2.Input, str, str, str]] = [
    (common_pb2.Input(), "input", "one kind", "none"),
    (common_pb2.Input(image=b""), "image", "at least 1 byte", "0"),
    (common_pb2.Input(image=b"x" * 11), "image", "10", "11"),
    (common_pb2.Input(text=""), "text", "at least 1 byte", "0"),
    (common_pb2.Input(text="é" * 5), "text", "8", "10"),
    (common_pb2.Input(text_utf8=b""), "text", "at least 1 byte", "0"),
    (common_pb2.Input(text_utf8=b"x" * 9), "text", "8", "9"),
    (common_pb2.Input(text_utf8=b"ab\xff"), "text", "valid UTF-8", "byte 2"),
    (common_pb2.Input(digest=""), "digest", "64 hexadecimal digits", ""),
    (common_pb2.Input(digest="0" * 63), "digest", "64 hexadecimal digits", "0" * 63),
    (common_pb2.Input(digest="0" * 64 + "\n"), "digest", "64 hexadecimal digits", "0" * 64 + "\n"),
    (common_pb2.Input(pixels=common_pb2.Tensor()), "pixels.dtype", "uint8", ""),
    (
        common_pb2.Input(pixels=tensor(np.zeros((1, 1, 3), np.float32))),
        "pixels.dtype",
        "uint8",
        "float32",
    ),
    (
        common_pb2.Input(pixels=common_pb2.Tensor(dtype="uint8", shape=[1, 1, 3], data=b"12")),
        "pixels.data",
        "3",
        "2",
    ),
    (
        common_pb2.Input(pixels=common_pb2.Tensor(dtype="uint8", shape=[2**32 - 1] * 3, data=b"")),
        "pixels.data",
        str((2**32 - 1) ** 3),
        "0",
    ),
    (
        common_pb2.Input(pixels=common_pb2.Tensor(dtype="uint8", shape=[1] * 5, data=b"1")),
        "pixels.data",
        "1",
        "1",
    ),
    (common_pb2.Input(pixels=pixels(1, 1, 4)), "pixels.shape", "[height, width, 3]", "[1, 1, 4]"),
    (common_pb2.Input(pixels=pixels(0, 5)), "pixels.shape", "[height, width, 3]", "[0, 5, 3]"),
    (common_pb2.Input(pixels=pixels(1, 7)), "pixels", "6", "7"),
    (common_pb2.Input(pixels=pixels(1, 6)), "pixels.side", "5", "6"),
    (common_pb2.Input(pixels=pixels(6, 1)), "pixels.side", "5", "6"),
    (common_pb2.Input(embedding=embedding([])), "embedding.vector", "[dim]", "[0]"),
    (common_pb2.Input(embedding=embedding([[1]])), "embedding.vector", "[dim]", "[1, 1]"),
    (common_pb2.Input(embedding=embedding(1.0)), "embedding.vector", "[dim]", "[]"),
    (common_pb2.Input(embedding=embedding([1, np.nan])), "embedding.vector", "finite", "nan"),
    (common_pb2.Input(embedding=embedding([-np.inf])), "embedding.vector", "finite", "-inf"),
    (
        common_pb2.Input(embedding=common_pb2.Embedding(vector=tensor(np.zeros(3)))),
        "embedding.vector.dtype",
        "float32",
        "float64",
    ),
]


@pytest.mark.parametrize(("message", "field", "limit", "value"), MALFORMED)
def test_malformed_input_is_refused_by_field_limit_and_value(
    message: common_pb2.Input, field: str, limit: str, value: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_input(message, LIMITS)
    error = caught.value
    assert (error.field, str(error.limit), str(error.value)) == (field, limit, value)
    assert str(error).startswith(field.split(".")[0])


def test_input_at_its_limit_is_read() -> None:
    assert read_input(common_pb2.Input(image=b"x" * 10), LIMITS).kind is Kind.IMAGE
    assert read_input(common_pb2.Input(text="é" * 4), LIMITS).kind is Kind.TEXT
    assert read_input(common_pb2.Input(pixels=pixels(2, 3)), LIMITS).kind is Kind.PIXELS
    assert read_input(common_pb2.Input(pixels=pixels(5, 1)), LIMITS).kind is Kind.PIXELS


def test_digests_are_those_of_the_client_and_separate_by_kind() -> None:
    vector = np.arange(3, dtype="<f4")
    rgb = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    image = read_input(common_pb2.Input(image=b"same"), LIMITS)
    text = read_input(common_pb2.Input(text="same"), LIMITS)
    tensor_ = read_input(common_pb2.Input(pixels=to_tensor(rgb)), LIMITS)
    known = read_input(common_pb2.Input(embedding=embedding(vector)), LIMITS)
    assert image.digest == image_digest(b"same")
    assert text.digest == text_digest("same")
    assert tensor_.digest == pixels_digest((1, 2, 3), rgb.tobytes())
    assert known.digest == embedding_digest("f", vector.tobytes())
    assert len({image.digest, text.digest, tensor_.digest, known.digest}) == 4


def test_text_is_the_same_input_as_its_utf8() -> None:
    one = read_input(common_pb2.Input(text="é"), LIMITS)
    other = read_input(common_pb2.Input(text_utf8="é".encode()), LIMITS)
    assert one == other


def test_same_pixels_in_another_shape_are_another_input() -> None:
    wide = read_input(common_pb2.Input(pixels=pixels(1, 2)), LIMITS)
    high = read_input(common_pb2.Input(pixels=pixels(2, 1)), LIMITS)
    assert wide.digest != high.digest


@pytest.mark.parametrize(
    ("kind", "modality"),
    [
        (Kind.IMAGE, Modality.IMAGE),
        (Kind.PIXELS, Modality.IMAGE),
        (Kind.TEXT, Modality.TEXT),
        (Kind.EMBEDDING, None),
        (Kind.DIGEST, None),
    ],
)
def test_kind_knows_its_modality(kind: Kind, modality: Modality | None) -> None:
    assert kind.modality is modality


@pytest.mark.parametrize(
    "message",
    [
        common_pb2.Input(image=b"abc"),
        common_pb2.Input(text="abc"),
        common_pb2.Input(pixels=pixels(1, 2)),
    ],
)
def test_input_passed_on_to_another_server_stays_the_same(message: common_pb2.Input) -> None:
    raw = read_input(message, LIMITS)
    assert read_input(raw.to_message(), LIMITS).digest == raw.digest


@given(
    arrays.arrays(
        st.sampled_from([np.uint8, np.uint32, np.float32, np.float64]),
        arrays.array_shapes(min_dims=1, max_dims=4, min_side=0, max_side=4),
    )
)
def test_tensor_comes_back_bit_by_bit(array: NDArray[np.generic]) -> None:
    message = to_tensor(array)
    back = from_tensor(message, field="x", dtypes=(array.dtype.name,))
    assert back.shape == array.shape
    assert back.dtype.name == array.dtype.name
    assert back.astype(array.dtype).tobytes() == array.tobytes()
    assert to_tensor(np.asfortranarray(array)) == message


def test_embedding_of_another_fingerprint_is_refused_by_name() -> None:
    raw = read_input(common_pb2.Input(embedding=embedding([1, 2], "old")), LIMITS)
    with pytest.raises(FingerprintMismatch) as caught:
        check_embedding(raw, "new", 2)
    assert (caught.value.limit, caught.value.value) == ("new", "old")
    with pytest.raises(InvalidRequest, match=r"shape \[3\], has \[2\]"):
        check_embedding(raw, "old", 3)
    assert check_embedding(raw, "old", 2).tolist() == [1, 2]


def test_digest_in_upper_case_is_that_in_lower_case() -> None:
    assert read_input(common_pb2.Input(digest="AB" * 32), LIMITS).digest == "ab" * 32
