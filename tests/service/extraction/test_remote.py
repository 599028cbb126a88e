"""An extraction server whose backbone is not the one that it listed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.embedding.resolved import Resolved
from service.embedding.resolver import EmbeddingResolver
from service.errors import Unavailable
from service.extraction import Extracted
from service.extraction.remote import RemoteExtractor
from service.metrics import Metrics
from tests.service.extraction.far_extractor import Far, connected
from tests.service.tiny_backbone import FINGERPRINT, info, text_input, vector_of

OTHER = "0" * 64


@pytest.fixture
async def far() -> AsyncIterator[tuple[Far, RemoteExtractor]]:
    """The server, and what uses it and has heard from it."""
    there = Far()
    async with there.serving() as port, connected(port) as link:
        yield there, link.extractor


async def test_embeddings_of_a_changed_backbone_are_refused_and_not_kept(
    far: tuple[Far, RemoteExtractor],
) -> None:
    there, remote = far
    embeddings = EmbeddingResolver(remote, None, 1 << 20, Metrics(5))
    there.fingerprint = OTHER
    with pytest.raises(Unavailable, match="has changed") as caught:
        await embeddings.resolve("acme", info(), [text_input("a")])
    assert caught.value.retry_after == 1.0
    there.fingerprint = FINGERPRINT
    for _ in range(2):
        (found,) = await embeddings.resolve("acme", info(), [text_input("a")])
        assert isinstance(found, Resolved)
        assert found.vector.tolist() == vector_of("a").tolist()
    assert there.asked == [["a"], ["a"]]


async def test_activations_of_a_changed_backbone_are_refused(
    far: tuple[Far, RemoteExtractor],
) -> None:
    there, remote = far
    rows = [text_input("a"), text_input("b")]
    assert len(await remote.activations("acme", info(), rows, prepared=False)) == 2
    there.fingerprint = OTHER
    with pytest.raises(Unavailable, match="has changed") as caught:
        await remote.activations("acme", info(), rows, prepared=False)
    assert caught.value.retry_after == 1.0


async def test_rows_that_the_far_backbone_truncated_are_marked(
    far: tuple[Far, RemoteExtractor],
) -> None:
    there, remote = far
    there.truncated = [0]
    (found,) = await remote.embed("acme", info(), [text_input("a")])
    assert isinstance(found, Extracted)
    assert found.truncated
