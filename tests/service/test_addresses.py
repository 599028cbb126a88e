"""Which addresses only this machine can reach."""

from __future__ import annotations

import pytest

from service.addresses import is_loopback


@pytest.mark.parametrize("host", ["127.0.0.1.example.org", "localhost.example.org", "", "::2"])
def test_names_that_look_like_loopback_are_not(host: str) -> None:
    assert not is_loopback(host)
