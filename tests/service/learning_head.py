"""A trained head that learns from feedback, in a server within this process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager

import numpy as np
from numpy.typing import NDArray

from service.requests.tensors import from_tensor, to_tensor
from tests.service.server import HEAD, InProcessServer
from tests.service.tiny_backbone import DIM, FINGERPRINT
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

Vector = NDArray[np.float32]
OpenLearningHead = Callable[..., AbstractAsyncContextManager["LearningHead"]]

CENTRES = {
    "red": np.array([2, 0, 0, 0], np.float32),
    "blue": np.array([-2, 0, 0, 0], np.float32),
    "green": np.array([0, 3, 0, 0], np.float32),
}
IMMEDIATE = heads_pb2.FEEDBACK_POLICY_IMMEDIATE
GATED = heads_pb2.FEEDBACK_POLICY_GATED
MANUAL = heads_pb2.FEEDBACK_POLICY_MANUAL


def around(label: str, count: int, seed: int, spread: float = 1.0) -> list[Vector]:
    """Embeddings near the centre of a class."""
    generator = np.random.default_rng(seed)
    noise = generator.normal(scale=spread, size=(count, DIM))
    return list((CENTRES[label] + noise).astype(np.float32))


def strangers(
    count: int, seed: int = 7, distance: float = 9.0, spread: float = 0.1
) -> list[Vector]:
    """Embeddings unlike both classes, so that feedback alone decides about them.

    At the default spread they are near-copies of one another.
    """
    noise = np.random.default_rng(seed).normal(scale=spread, size=(count, 4))
    return list((noise + np.array([0, 0, distance, 0])).astype(np.float32))


def vector_input(vector: Vector) -> common_pb2.Input:
    return common_pb2.Input(
        embedding=common_pb2.Embedding(fingerprint=FINGERPRINT, vector=to_tensor(vector))
    )


class LearningHead:
    """A head of an InProcessServer, and shorthands for what it learns from."""

    def __init__(self, server: InProcessServer, name: str = HEAD) -> None:
        self.server = server
        self.name = name

    async def add(
        self, vectors: Sequence[Vector], label: str | None
    ) -> heads_pb2.AddExamplesResponse:
        rows = [heads_pb2.NewExample(input=vector_input(v), label=label) for v in vectors]

        async def stream() -> AsyncIterator[heads_pb2.AddExamplesRequest]:
            yield heads_pb2.AddExamplesRequest(head=self.name, examples=rows)

        handler = self.server.application.handlers["AddExamples"]
        response: heads_pb2.AddExamplesResponse = await handler(
            stream(), self.server.call("AddExamples", None)
        )
        return response

    async def send(
        self, vectors: Sequence[Vector], label: str, *, ids: Sequence[str] = ()
    ) -> prediction_pb2.SendFeedbackResponse:
        rows = [
            prediction_pb2.Feedback(
                input=vector_input(vector), label=label, id=ids[i] if ids else ""
            )
            for i, vector in enumerate(vectors)
        ]
        request = prediction_pb2.SendFeedbackRequest(head=self.name, feedback=rows)
        response: prediction_pb2.SendFeedbackResponse = await self.server.ask(
            "SendFeedback", request
        )
        return response

    async def predict(self, vectors: Sequence[Vector]) -> prediction_pb2.HeadPredictions:
        response = await self.server.predict(*map(vector_input, vectors), head=self.name)
        assert not response.errors
        (group,) = response.predictions
        return group

    async def labels(self, vectors: Sequence[Vector]) -> list[str]:
        group = await self.predict(vectors)
        indices = from_tensor(group.indices, field="indices", dtypes=("uint32",))
        return [group.labels[int(row[0])] for row in indices]

    async def probabilities(self, vectors: Sequence[Vector]) -> NDArray[np.float64]:
        """Of shape (rows, classes), in the order of the labels."""
        group = await self.predict(vectors)
        indices = from_tensor(group.indices, field="indices", dtypes=("uint32",))
        found = from_tensor(group.probabilities, field="probabilities", dtypes=("float32",))
        ordered = np.empty(found.shape, dtype=np.float64)
        np.put_along_axis(ordered, indices.astype(np.intp), found, axis=1)
        return ordered

    async def head(self) -> heads_pb2.Head:
        return await self.server.head(self.name)

    async def live(self) -> heads_pb2.LiveCopy:
        return (await self.head()).live

    async def update(self, **values: object) -> heads_pb2.Head:
        request = heads_pb2.UpdateHeadRequest(name=self.name, **values)  # type: ignore[arg-type]
        head: heads_pb2.Head = (await self.server.ask("UpdateHead", request)).head
        return head

    async def promote(self) -> heads_pb2.PromoteLiveCopyResponse:
        request = heads_pb2.PromoteLiveCopyRequest(head=self.name)
        reply: heads_pb2.PromoteLiveCopyResponse = await self.server.ask("PromoteLiveCopy", request)
        return reply

    async def drop(self) -> heads_pb2.DropLiveCopyResponse:
        request = heads_pb2.DropLiveCopyRequest(head=self.name)
        reply: heads_pb2.DropLiveCopyResponse = await self.server.ask("DropLiveCopy", request)
        return reply

    async def activate(self, version: int) -> heads_pb2.Head:
        request = heads_pb2.ActivateHeadVersionRequest(name=f"{self.name}/versions/{version}")
        head: heads_pb2.Head = (await self.server.ask("ActivateHeadVersion", request)).head
        return head

    async def feedback(
        self, state: heads_pb2.FeedbackState.ValueType = heads_pb2.FEEDBACK_STATE_UNSPECIFIED
    ) -> list[heads_pb2.FeedbackRecord]:
        request = heads_pb2.ListFeedbackRequest(head=self.name, state=state, page_size=1000)
        return list((await self.server.ask("ListFeedback", request)).feedback)

    async def release(self, **values: object) -> heads_pb2.ReleaseFeedbackResponse:
        request = heads_pb2.ReleaseFeedbackRequest(head=self.name, **values)  # type: ignore[arg-type]
        reply: heads_pb2.ReleaseFeedbackResponse = await self.server.ask("ReleaseFeedback", request)
        return reply

    async def examples(self) -> dict[str, str]:
        """Labels of the head's examples by digest."""
        request = heads_pb2.ListExamplesRequest(head=self.name, page_size=1000)
        listed = (await self.server.ask("ListExamples", request)).examples
        return {item.digest: item.label for item in listed if item.HasField("label")}


async def unlike(head: LearningHead, vectors: list[Vector]) -> str:
    """The label that the head does not give to these."""
    return {"red": "blue", "blue": "red"}[(await head.labels(vectors))[0]]


def states(feedback: list[heads_pb2.FeedbackRecord]) -> list[heads_pb2.FeedbackState.ValueType]:
    return [item.state for item in feedback]
