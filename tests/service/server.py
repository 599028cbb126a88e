"""A whole server within the test's process, on a tiny backbone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import numpy as np
import safetensors.numpy
from google.protobuf.message import Message

import adapters
from service.access.caller import ANYONE
from service.application import Application
from service.requests.call import Call
from service.requests.names import tenant_of
from service.requests.tensors import from_tensor
from tests.service.tiny_backbone import DIM, FINGERPRINT, TinyBackbone
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

HEAD = "tenants/acme/heads/defects"
LABELS = {"red one": "red", "red two": "red", "blue one": "blue", "blue two": "blue"}


class InProcessServer:
    """A started application, and shorthands for asking its handlers; no transport."""

    def __init__(self, application: Application, backbone: TinyBackbone) -> None:
        self.application = application
        self.backbone = backbone

    def call(self, method: str, request: Message | None) -> Call:
        return Call(method, "grpc", tenant_of(request), None, caller=ANYONE)

    async def ask(self, method: str, request: Message) -> Any:
        return await self.application.handlers[method](request, self.call(method, request))

    async def create(self, name: str = HEAD, **values: Any) -> heads_pb2.Head:
        tenant, _, head = name.partition("/heads/")
        request = heads_pb2.CreateHeadRequest(
            parent=tenant, head_id=head, backbone=self.backbone.name, **values
        )
        head_message: heads_pb2.Head = (await self.ask("CreateHead", request)).head
        return head_message

    async def add(
        self, labels: Mapping[str, str | None], head: str = HEAD
    ) -> heads_pb2.AddExamplesResponse:
        rows = (
            heads_pb2.NewExample(input=common_pb2.Input(text=text), label=label)
            for text, label in labels.items()
        )
        return await self.add_rows(*rows, head=head)

    async def add_rows(
        self, *rows: heads_pb2.NewExample, head: str = HEAD
    ) -> heads_pb2.AddExamplesResponse:
        async def stream() -> AsyncIterator[heads_pb2.AddExamplesRequest]:
            for i, row in enumerate(rows):
                yield heads_pb2.AddExamplesRequest(head="" if i else head, examples=[row])

        handler = self.application.handlers["AddExamples"]
        response: heads_pb2.AddExamplesResponse = await handler(
            stream(), self.call("AddExamples", None)
        )
        return response

    async def feedback(self, labels: dict[str, str], head: str = HEAD) -> Any:
        rows = [
            prediction_pb2.Feedback(input=common_pb2.Input(text=text), label=label)
            for text, label in labels.items()
        ]
        request = prediction_pb2.SendFeedbackRequest(head=head, feedback=rows)
        return await self.ask("SendFeedback", request)

    async def report(self, head: str = HEAD, version: int | str = "active") -> heads_pb2.HeadReport:
        request = heads_pb2.GetHeadReportRequest(name=f"{head}/versions/{version}")
        report: heads_pb2.HeadReport = (await self.ask("GetHeadReport", request)).report
        return report

    async def head(self, head: str = HEAD) -> heads_pb2.Head:
        found: heads_pb2.Head = (
            await self.ask("GetHead", heads_pb2.GetHeadRequest(name=head))
        ).head
        return found

    async def train(self, head: str = HEAD, **values: Any) -> heads_pb2.Training:
        request = heads_pb2.TrainHeadRequest(head=head, **values)
        handler = self.application.handlers["TrainHead"]
        last: heads_pb2.Training | None = None
        async for reply in handler(request, self.call("TrainHead", request)):
            last = reply.training
        assert last is not None
        return last

    async def exported(self, head: str = HEAD) -> adapters.Head:
        reply = await self.ask("ExportHead", heads_pb2.ExportHeadRequest(name=head))
        return adapters.Head.from_safetensors(reply.safetensors)

    async def delete(self, *digests: str, head: str = HEAD) -> heads_pb2.DeleteExamplesResponse:
        request = heads_pb2.DeleteExamplesRequest(head=head, digests=digests)
        response: heads_pb2.DeleteExamplesResponse = await self.ask("DeleteExamples", request)
        return response

    async def forget(self, *digests: str, head: str = HEAD) -> heads_pb2.ForgetExamplesResponse:
        request = heads_pb2.ForgetExamplesRequest(head=head, digests=digests)
        response: heads_pb2.ForgetExamplesResponse = await self.ask("ForgetExamples", request)
        return response

    async def predict(
        self, *inputs: common_pb2.Input, head: str = HEAD, **values: Any
    ) -> prediction_pb2.PredictResponse:
        request = prediction_pb2.PredictRequest(head=head, inputs=inputs, **values)
        response: prediction_pb2.PredictResponse = await self.ask("Predict", request)
        return response


StartServer = Callable[..., AbstractAsyncContextManager[InProcessServer]]


def texts(*values: str) -> list[common_pb2.Input]:
    return [common_pb2.Input(text=value) for value in values]


def best(response: prediction_pb2.PredictResponse) -> list[str]:
    (group,) = response.predictions
    indices = from_tensor(group.indices, field="indices", dtypes=("uint32",))
    return [group.labels[int(row[0])] for row in indices]


def weights(labels: Sequence[str] = ("no", "yes"), dim: int = DIM) -> bytes:
    tensors = {
        "weight": np.zeros((len(labels), dim), np.float64),
        "bias": np.arange(len(labels), dtype=np.float64),
    }
    return safetensors.numpy.save(tensors)


def import_request(**values: Any) -> heads_pb2.ImportHeadRequest:
    return heads_pb2.ImportHeadRequest(
        **{
            "parent": "tenants/acme",
            "head_id": "defects",
            "backbone": "tiny/text",
            "fingerprint": FINGERPRINT,
            "safetensors": weights(),
            "labels": ["no", "yes"],
            **values,
        }
    )
