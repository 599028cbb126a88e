"""Heads that are used badly, and must stay as they are."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.bounds.checks import TENANT
from tests.e2e.conftest import IMAGES, TEXTS
from tests.e2e.samples import noise_png
from trunkline import Client, Head
from trunkline.values.inputs import InputLike


@pytest.fixture(scope="session")
def heads(client: Client) -> dict[str, str]:
    """Head names by modality."""
    for name, backbone in (("image", IMAGES), ("text", TEXTS)):
        client.create_head(f"bounds/{name}", backbone)
    good: dict[str, list[InputLike]] = {
        "image": [noise_png(i) for i in range(4)],
        "text": ["a", "b", "c", "d"],
    }
    for name, inputs in good.items():
        client.upload(f"bounds/{name}", [(item, f"l{i % 2}") for i, item in enumerate(inputs)])
        client.train(f"bounds/{name}")
    return {name: f"{TENANT}/heads/{name}" for name in good}


@pytest.fixture
def _unchanged(client: Client, heads: dict[str, str]) -> Iterator[None]:
    """Fails a test after which the store is not as it was."""
    before = state(client)
    yield
    assert state(client) == before


def state(client: Client) -> list[Head]:
    return list(client.list_heads("bounds"))
