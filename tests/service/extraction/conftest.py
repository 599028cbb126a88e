"""Tests under load log thousands of lines; none of them is read."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import structlog

from service.logs import get_logger


@pytest.fixture
def without_logs() -> Iterator[None]:
    get_logger(__name__)  # configured, if it was not
    with structlog.testing.capture_logs():
        yield
