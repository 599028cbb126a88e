"""Chunks and packed arrays."""

import struct
from array import array
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trunkline import DataLoss, InvalidArgument, Pixels, Vector
from trunkline.replies import predictions
from trunkline.rows.chunking import split
from trunkline.v1 import common_pb2, prediction_pb2
from trunkline.wire.tensors import block, pack_float32, unpack

FLOATS = st.lists(st.floats(width=32, allow_nan=False), max_size=20)


@given(st.lists(st.integers(0, 50)), st.integers(1, 7), st.integers(1, 60))
def test_chunks_keep_order_and_bounds(sizes: list[int], rows: int, limit: int) -> None:
    chunks = list(split(sizes, lambda size: size, max_rows=rows, max_bytes=limit))
    assert [size for chunk in chunks for size in chunk] == sizes
    assert all(1 <= len(chunk) <= rows for chunk in chunks)
    assert all(sum(chunk) <= limit or len(chunk) == 1 for chunk in chunks)


@given(st.lists(st.integers(0, 50), min_size=1), st.integers(1, 7), st.integers(1, 60))
def test_no_chunk_could_have_taken_the_next_row(sizes: list[int], rows: int, limit: int) -> None:
    chunks = list(split(sizes, lambda size: size, max_rows=rows, max_bytes=limit))
    for chunk, following in pairwise(chunks):
        assert len(chunk) == rows or sum(chunk) + following[0] > limit


@given(st.lists(st.integers()), st.integers(1, 7))
def test_without_sizes_all_chunks_but_the_last_are_full(rows: list[int], most: int) -> None:
    chunks = list(split(rows, max_rows=most))
    assert [row for chunk in chunks for row in chunk] == rows
    assert all(len(chunk) == most for chunk in chunks[:-1])
    assert all(1 <= len(chunk) <= most for chunk in chunks)


@given(FLOATS)
def test_floats_of_any_type_and_byte_order_pack_alike(values: list[float]) -> None:
    expected = struct.pack(f"<{len(values)}f", *values)
    numpy = pytest.importorskip("numpy")
    forms: list[Any] = [values, tuple(values), array("f", values), array("d", values)]
    forms += [numpy.array(values, dtype=dtype) for dtype in ("<f4", ">f4", "<f8", ">f8")]
    assert {pack_float32(block(form)) for form in forms} == {expected}


@given(FLOATS)
def test_packed_floats_unpack_to_themselves(values: list[float]) -> None:
    data = struct.pack(f"<{len(values)}f", *values)
    tensor = common_pb2.Tensor(dtype="float32", shape=[len(values), 1], data=data)
    assert list(unpack(tensor, "float32", dimensions=2)) == values


@pytest.mark.parametrize(
    ("dtype", "shape", "data"),
    [("float64", [1, 1], bytes(8)), ("float32", [1], bytes(4)), ("float32", [2, 1], bytes(4))],
)
def test_a_tensor_that_contradicts_itself_is_refused(
    dtype: str, shape: list[int], data: bytes
) -> None:
    with pytest.raises(DataLoss):
        unpack(common_pb2.Tensor(dtype=dtype, shape=shape, data=data), "float32", dimensions=2)


def test_a_reply_without_a_row_is_refused() -> None:
    with pytest.raises(DataLoss, match="0 of 1"):
        predictions(prediction_pb2.PredictResponse(digests=["x"]), 1)


def test_a_prediction_of_no_label_is_refused() -> None:
    group = prediction_pb2.HeadPredictions(
        labels=["a"],
        rows=[0],
        indices=common_pb2.Tensor(dtype="uint32", shape=[1, 1], data=struct.pack("<I", 1)),
        probabilities=common_pb2.Tensor(dtype="float32", shape=[1, 1], data=bytes(4)),
    )
    with pytest.raises(DataLoss):
        predictions(prediction_pb2.PredictResponse(predictions=[group], digests=["x"]), 1)


class Interface:
    """An array as libraries without the buffer protocol show it."""

    def __init__(self, typestr: str, shape: tuple[int, ...], data: Any) -> None:
        self.__array_interface__ = {
            "version": 3,
            "typestr": typestr,
            "shape": shape,
            "data": data,
        }


def test_the_array_interface_is_read_from_bytes_and_from_memory() -> None:
    pixels = Pixels(Interface("|u1", (1, 2, 3), b"abcdef"))
    assert (pixels.shape, pixels.data) == ((1, 2, 3), b"abcdef")
    floats = array("f", [1.0, 2.0])
    order = "<" if struct.pack("=f", 1.0) == struct.pack("<f", 1.0) else ">"
    pointed = Interface(f"{order}f4", (2,), (floats.buffer_info()[0], True))
    assert Vector("ab", pointed) == Vector("ab", [1.0, 2.0])


def test_strided_memory_is_packed_in_its_own_order() -> None:
    numpy = pytest.importorskip("numpy")
    pixels = numpy.arange(24, dtype=numpy.uint8).reshape(2, 4, 3)
    assert Pixels(pixels[:, ::2]).data == pixels[:, ::2].tobytes()


@pytest.mark.parametrize("value", [object(), "text", ["x"], 3])
def test_what_is_no_array_is_refused(value: Any) -> None:
    with pytest.raises(InvalidArgument):
        block(value)


def test_pixels_and_vectors_of_the_wrong_shape_are_refused() -> None:
    with pytest.raises(InvalidArgument, match="height, width, 3"):
        Pixels(memoryview(bytes(4)).cast("B", (2, 2)))
    with pytest.raises(InvalidArgument, match="one dimension"):
        Vector("ab", memoryview(array("f", [1.0] * 4)).cast("B").cast("f", (2, 2)))
    with pytest.raises(InvalidArgument):
        Vector("ab", [1e300])
