"""Tails of the embedded backbones through the extractor, against the network with their weights."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
import torch

from models import load_backbone_network
from models.catalogue import EFFICIENTNET_LITE0, MINILM_L6_V2
from service.config import ExtractorSettings, load_settings
from service.extraction.local import LocalExtractor
from service.metrics import Metrics
from service.requests.inputs import Kind, RawInput
from tests.service.extraction.changed_tails import TOLERANCE, Case, assert_close
from tests.service.tiny_backbone import text_input

pytestmark = pytest.mark.costly


def image_rows() -> list[RawInput]:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 60, 80, 3), np.uint8)
    return [RawInput(Kind.PIXELS, str(row), image) for row, image in enumerate(pixels)]


@pytest.fixture(params=["image", "text"])
async def case(request: pytest.FixtureRequest, cache_dir: Path) -> AsyncIterator[Case]:
    image = request.param == "image"
    spec = EFFICIENTNET_LITE0 if image else MINILM_L6_V2
    settings = load_settings(
        ExtractorSettings, backbone=spec.name, cache_dir=cache_dir, threads=1, device="cpu"
    )
    extractor = LocalExtractor(settings, Metrics(5))
    await extractor.start(lambda ready: None)
    texts = ["a fine day", "rain " * 40, "naïve café"]
    rows = image_rows() if image else [text_input(text) for text in texts]
    try:
        network = load_backbone_network(spec.name, device="cpu")
        yield Case(extractor, extractor.backbone(spec.name), rows, network)
    finally:
        await extractor.close()


async def test_mixed_rows_equal_the_networks_that_each_row_asks_for(case: Case) -> None:
    plain = await case.embed()
    one, two, all_of_it = case.changed(1), case.changed(2), case.changed(3, whole=True)
    results = await asyncio.gather(
        case.embed(case.tail(one)),
        case.embed(None, "bolt"),
        case.embed(case.tail(two), "core"),
        case.embed(case.tail(all_of_it, whole=True), "dune"),
    )
    assert_close(results[1], plain)
    for result, tensors in zip((results[0], *results[2:]), (one, two, all_of_it), strict=True):
        wanted = await case.expected(tensors)
        assert_close(result, wanted)
        assert np.abs(np.stack(wanted) - np.stack(plain)).max() > 10 * TOLERANCE


async def test_tail_over_activations_is_what_training_saw(case: Case) -> None:
    activations = await case.extractor.activations("acme", case.backbone, case.rows, prepared=False)
    tail = case.network.network.tail()
    for activation, row in zip(activations, await case.embed(), strict=True):
        assert isinstance(activation, np.ndarray)
        assert str(activation.dtype) == "float16"
        states = torch.from_numpy(activation.astype(np.float32)[None])
        mask = torch.ones(states.shape[:2], dtype=torch.int64) if states.ndim == 3 else None
        with torch.inference_mode():
            embedding = tail(states, mask).numpy()[0]
        np.testing.assert_allclose(embedding, row, rtol=0, atol=2e-2)  # half precision
