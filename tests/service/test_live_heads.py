"""Live copies through the application's handlers: what feedback does, and what it cannot do."""

from __future__ import annotations

import numpy as np
import pytest

from adapters import FAMILIES
from tests.service.live_house import (
    IMMEDIATE,
    OpenLive,
)

FAR = 9.0
"""Of embeddings that are unlike both classes, so that feedback alone decides about them."""


def strangers(count: int, seed: int = 7) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    rows = generator.normal(scale=0.1, size=(count, 4)) + [0, 0, FAR, 0]
    return list(rows.astype(np.float32))


@pytest.mark.parametrize("family", FAMILIES)
async def test_very_next_prediction_shows_what_was_learned(
    open_live: OpenLive, family: str
) -> None:
    async with open_live(IMMEDIATE, family=family) as head:
        inputs = strangers(10)
        before = await head.predict(inputs)
        assert (before.live, before.version) == (False, 1)
        other = {"red": "blue", "blue": "red"}[(await head.labels(inputs))[0]]
        for vector in inputs[:5]:
            reply = await head.send([vector], other)
            assert not reply.errors
        after = await head.predict(inputs)
        assert (after.live, after.version) == (True, 1)
        assert await head.labels(inputs) == [other] * 10
