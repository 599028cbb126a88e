"""An extraction server's rows that are not finite are errors here as they would be there."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from service.errors import BackboneFailed
from service.extraction import Extracted, remote
from service.requests.tensors import to_tensor
from tests.service.tiny_backbone import FINGERPRINT, info, text_input, vector_of
from trunkline.v1 import extraction_pb2, tails_pb2


class Connection:
    """Answers with these vectors, whatever is asked."""

    def __init__(self, *vectors: Any) -> None:
        self.extraction = self.tails = SimpleNamespace(Embed=None, ComputeActivations=None)
        self._vectors = np.array(vectors, np.float32)

    away = False

    async def call(self, rpc: Any, request: Any, kind: type, deadline: float | None) -> Any:
        if kind is extraction_pb2.EmbedResponse:
            return kind(fingerprint=FINGERPRINT, embeddings=to_tensor(self._vectors))
        rows = [to_tensor(row.astype(np.float16)) for row in self._vectors]
        return tails_pb2.ComputeActivationsResponse(fingerprint=FINGERPRINT, activations=rows)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
async def test_row_that_is_not_finite_fails_alone(
    monkeypatch: pytest.MonkeyPatch, number: float
) -> None:
    ill = vector_of("b")
    ill[1] = number
    connection = Connection(vector_of("a"), ill, vector_of("c"))
    monkeypatch.setattr(remote, "RemoteConnection", lambda *_: connection)
    far = remote.RemoteExtractor("127.0.0.1:1", max_message_bytes=1 << 20, timeout_seconds=60)
    await far.start(lambda is_ready: None)
    rows = [text_input(text) for text in "abc"]
    first, failed, last = await far.embed("acme", info(), rows)
    assert isinstance(failed, BackboneFailed)
    assert "not finite" in str(failed)
    for outcome, text in ((first, "a"), (last, "c")):
        assert isinstance(outcome, Extracted)
        assert outcome.vector.tolist() == vector_of(text).tolist()
    activations = await far.activations("acme", info(), rows, prepared=False)
    assert [isinstance(item, BackboneFailed) for item in activations] == [False, True, False]
