"""Frames that processes send each other."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays as hypothesis_arrays
from numpy.typing import NDArray

from service.subprocesses import frames

ARRAYS = st.dictionaries(
    st.text(max_size=5),
    hypothesis_arrays(
        st.sampled_from([np.float32, np.float64, np.uint8, np.int64]),
        st.tuples(st.integers(0, 3), st.integers(0, 3)),
        elements=st.integers(0, 100),
    ),
    max_size=4,
)


@given(ARRAYS)
def test_any_arrays_come_back_from_a_frame(arrays: dict[str, NDArray[Any]]) -> None:
    parts = frames.pack({"seed": 1}, arrays)
    header, found = frames.read(io.BytesIO(b"".join(parts))) or ({}, {})
    assert header == {"seed": 1}
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array)
