"""The time that a request says it has left."""

from __future__ import annotations

import pytest

from service.errors import InvalidRequest
from service.requests.time_left import read_time_left


@pytest.mark.parametrize(("text", "seconds"), [(None, None), ("0", 0.0), ("2.5000", 2.5)])
def test_seconds_are_read(text: str | None, seconds: float | None) -> None:
    assert read_time_left(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "-1", "nan", "inf", b"\xff"])
def test_what_is_no_time_is_refused_by_its_name(text: str | bytes) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read_time_left(text)
    assert caught.value.field == "x-seconds-left"
