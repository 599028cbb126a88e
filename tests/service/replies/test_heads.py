"""Parts of the messages that describe heads."""

from __future__ import annotations

from service.replies.heads import timestamp


def test_timestamp_keeps_fractions_of_a_second() -> None:
    microseconds = timestamp(1_700_000_000.25).ToNanoseconds() / 1000
    assert abs(microseconds - 1_700_000_000_250_000) < 1
