"""How much a pass takes at once, and how many passes there are."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from service.config import ExtractorSettings, extractor_settings, load_settings
from service.extraction.shared_resources import SharedResources
from service.metrics import Metrics
from tests.service.tiny_backbone import TinyBackbone

Make = Callable[..., SharedResources]


@pytest.fixture
async def resources(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    """Makes the resources of a machine of eight cores."""
    made: list[SharedResources] = []

    def make(**values: Any) -> SharedResources:
        settings = load_settings(ExtractorSettings, backbone="tiny/text", **values)
        made.append(SharedResources(settings, Metrics(1)))
        return made[-1]

    monkeypatch.setattr(extractor_settings, "check_backbones", lambda *_: None)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    yield make
    for one in made:
        await one.close()


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ({"threads": 1}, 8),
        ({"threads": 3}, 2),
        ({"threads": 16}, 1),
        ({"threads": 0}, 1),
        ({"threads": 1, "passes": 3}, 3),
    ],
)
async def test_passes_fill_the_cores_unless_they_are_given(
    resources: Make, values: dict[str, int], passes: int
) -> None:
    assert resources(**values).batch_limits(TinyBackbone()).concurrency == passes


async def test_window_of_milliseconds_is_kept_in_seconds(resources: Make) -> None:
    limits = resources(batch_window_ms=5).batch_limits(TinyBackbone())
    assert limits.window_seconds == pytest.approx(0.005)
