"""One below a limit, at it and one above it: the first two are answered, the third is refused."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from PIL import Image
from safetensors.numpy import save

from service.requests.fields import MAX_EXTERNAL_ID_BYTES, MAX_FAMILY_BYTES, MAX_GROUP_BYTES
from service.requests.tensors import to_tensor
from service.transport.backend import Backend
from service.transport.grpc_server import GrpcServer
from service.transport.methods import OF_THE_SERVER
from service.transport.receiving import ReceivingBudget
from service.transport.rest import rest_app
from service.transport.rest_guard import RestGuard
from tests.e2e.transports import METHODS, Grpc, Refused
from tests.models.image_samples import chunk, encoded, with_chunk
from tests.service.server import HEAD, InProcessServer, StartServer, import_request, texts
from tests.service.tiny_backbone import DIM, IMAGE_SIDE, TinyImageBackbone
from tests.service.transport.port_limits import LIMITS
from trunkline.v1 import common_pb2, extraction_pb2, heads_pb2, prediction_pb2

TEXT_BYTES, ROWS, LABEL_BYTES, CLASSES, EXAMPLES = 100, 5, 20, 4, 6
MESSAGE_BYTES = 1024 * 1024
BODY_BYTES = 1_400_000
DEADLINE = 30.0

Answers = Sequence[tuple[str, str]]
"""Of a request over each transport, the code and the field at fault."""


@dataclass
class Both:
    """A server of small limits within this process, behind both transports."""

    server: InProcessServer
    grpc: Grpc
    rest: httpx.AsyncClient

    async def ask(self, method: str, request: Message) -> Answers:
        """Asks over both; of a reply with failed rows, the code is that of the first."""
        return [await self._over_grpc(method, request), await self._over_rest(method, request)]

    async def _over_grpc(self, method: str, request: Message) -> tuple[str, str]:
        try:
            reply = await asyncio.to_thread(self.grpc.call, method, request, DEADLINE)
        except Refused as error:
            return error.code, error.field
        for failed in getattr(reply, "errors", ()):
            return failed.code, failed.field
        return "OK", ""

    async def _over_rest(self, method: str, request: Message) -> tuple[str, str]:
        twin = METHODS[method].rest
        assert twin is not None
        body = MessageToDict(request, preserving_proto_field_name=True)
        ids = iter(str(body.pop(twin.field)).split("/")[1::2])
        path = re.sub(r"\{[^}]*\}", lambda _: next(ids), twin.path)
        send = {"params": body} if twin.verb == "GET" else {"json": body}
        late = {"X-Request-Timeout": str(DEADLINE)}
        answer = await self.rest.request(twin.verb, path, headers=late, **send)  # type: ignore[arg-type]
        found = answer.json()
        if answer.status_code >= 400:
            return found["code"], found["field"]
        rows = [row["error"] for row in found.get("predictions", ()) if "error" in row]
        for failed in [*rows, *found.get("errors", ())]:
            return failed["code"], failed["field"]
        return "OK", ""


@pytest.fixture
async def both(start_server: StartServer) -> AsyncIterator[Both]:
    limits = {
        "max_text_bytes": TEXT_BYTES,
        "max_rows_per_request": ROWS,
        "max_queued_rows_per_tenant": ROWS,
        "max_queued_rows": ROWS,
        "max_label_bytes": LABEL_BYTES,
        "max_classes": CLASSES,
        "max_examples_per_head": EXAMPLES,
        "max_message_bytes": MESSAGE_BYTES,
        "max_image_bytes": 2000,
    }
    async with _served(start_server, **limits) as served:
        await served.server.ask("ImportHead", import_request())
        yield served


@asynccontextmanager
async def _served(start_server: StartServer, **settings: Any) -> AsyncIterator[Both]:
    async with start_server(**settings) as server:
        app = server.application
        budget = ReceivingBudget(10**9, 60)
        served = GrpcServer(
            *("127.0.0.1:0", OF_THE_SERVER, app.handlers, app.calls),
            *(app.authentication, app.readiness),
            replace(LIMITS, max_message_bytes=MESSAGE_BYTES),
            budget,
        )
        await served.start()
        backend = Backend()
        backend.attach(app.handlers, app.calls, app.authentication)
        guard = RestGuard(rest_app(backend), BODY_BYTES, budget, backend, loopback_only=True)
        grpc = Grpc(f"127.0.0.1:{served.port}")
        transport = httpx.ASGITransport(guard)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as rest:
            yield Both(server, grpc, rest)
        grpc.close()
        await served.close()


def predict(*inputs: common_pb2.Input) -> tuple[str, Message]:
    return "Predict", prediction_pb2.PredictRequest(head=HEAD, inputs=inputs)


def feedback(count: int = 1, label: str = "yes", id: str = "") -> tuple[str, Message]:
    rows = [
        prediction_pb2.Feedback(input=common_pb2.Input(text=f"t{i}"), label=label, id=id)
        for i in range(count)
    ]
    return "SendFeedback", prediction_pb2.SendFeedbackRequest(head=HEAD, feedback=rows)


def example(**values: Any) -> tuple[str, Message]:
    row = heads_pb2.NewExample(input=common_pb2.Input(text="t0"), **values)
    return "AddExamples", heads_pb2.AddExamplesRequest(head=HEAD, examples=[row])


def named(head: str) -> tuple[str, Message]:
    return "GetHead", heads_pb2.GetHeadRequest(name=f"tenants/acme/heads/{head}")


def imported(labels: Sequence[str], family: str = "imported") -> tuple[str, Message]:
    tensors = {"weight": np.zeros((len(labels), DIM)), "bias": np.zeros(len(labels))}
    data = save(tensors, {"family": family})
    return "ImportHead", import_request(head_id="other", safetensors=data, labels=labels)


Build = Callable[[int], tuple[str, Message]]
CASES: dict[str, tuple[int, str, Build]] = {
    "bytes of a text": (TEXT_BYTES, "text", lambda n: predict(*texts("x" * n))),
    "bytes of a text that may be no UTF-8": (
        *(TEXT_BYTES, "text"),
        lambda n: predict(common_pb2.Input(text_utf8=b"x" * n)),
    ),
    "bytes of a text in wide characters": (
        *(TEXT_BYTES, "text"),
        lambda n: predict(*texts("é" * (n // 2) + "x" * (n % 2))),
    ),
    "rows of a prediction": (ROWS, "inputs", lambda n: predict(*texts(*map(str, range(n))))),
    "rows of feedback": (ROWS, "feedback", feedback),
    "rows to embed": (
        *(ROWS, "inputs"),
        lambda n: (
            "Embed",
            extraction_pb2.EmbedRequest(tenant="tenants/acme", inputs=texts(*map(str, range(n)))),
        ),
    ),
    "digests to look for": (
        *(10_000, "digests"),
        lambda n: (
            "FindMissingInputs",
            heads_pb2.FindMissingInputsRequest(head=HEAD, digests=[f"{i:064x}" for i in range(n)]),
        ),
    ),
    "bytes of an example's label": (
        *(LABEL_BYTES, "label"),
        lambda n: example(label="x" * n),
    ),
    "bytes of a group": (MAX_GROUP_BYTES, "group", lambda n: example(group="x" * n)),
    "bytes of an external id": (
        *(MAX_EXTERNAL_ID_BYTES, "external_id"),
        lambda n: example(external_id="x" * n),
    ),
    "bytes of an imported label": (
        *(LABEL_BYTES, "label"),
        lambda n: imported(["a", "x" * n]),
    ),
    "classes of an imported head": (
        *(CLASSES, "classes"),
        lambda n: imported([f"class {i}" for i in range(n)]),
    ),
    "bytes of an imported family": (
        *(MAX_FAMILY_BYTES, "family"),
        lambda n: imported(["a", "b"], "x" * n),
    ),
    "characters of a feedback's id": (64, "id", lambda n: feedback(id="x" * n)),
    "rows of a page": (
        *(1000, "page_size"),
        lambda n: ("ListHeads", heads_pb2.ListHeadsRequest(parent="tenants/acme", page_size=n)),
    ),
}


async def test_at_a_limit_is_answered_and_beyond_it_refused_by_its_field(both: Both) -> None:
    await both.server.create("tenants/acme/heads/" + "h" * 63)
    for what, (limit, field, build) in CASES.items():
        for size in (limit - 1, limit):
            assert await both.ask(*build(size)) == [("OK", "")] * 2, f"{what}: {size}"
        refused = [("INVALID_ARGUMENT", field)] * 2
        assert await both.ask(*build(limit + 1)) == refused, f"{what}: {limit + 1}"
    assert await both.ask(*named("h" * 63)) == [("OK", "")] * 2
    assert await both.ask(*named("h" * 62)) == [("NOT_FOUND", "head")] * 2
    assert {code for code, _ in await both.ask(*named("h" * 64))} == {"INVALID_ARGUMENT"}


async def test_message_or_body_at_its_limit_is_read_and_beyond_it_refused(both: Both) -> None:
    method, request = predict(*texts("x"))
    bare = request.ByteSize()
    for size, code in ((-1, "OK"), (0, "OK"), (1, "INVALID_ARGUMENT")):
        # An unknown field pads a message, and spaces a body: neither changes what it says.
        room = MESSAGE_BYTES + size - bare - 5
        padded = request.SerializeToString() + b"\xfa\x3f" + _varint(room) + b"\0" * room
        assert len(padded) == MESSAGE_BYTES + size
        found = await asyncio.to_thread(_code, both.grpc, method, padded)
        assert found == code, size
        body = b'{"inputs": [{"text": "x"}]}'.ljust(BODY_BYTES + size)
        answer = await both.rest.post(f"/v1/{HEAD}:predict", content=body, timeout=DEADLINE)
        assert answer.status_code == (413 if code != "OK" else 200), size


def image(width: int, height: int, size: int = 0) -> common_pb2.Input:
    """A picture as a PNG, filled up to so many bytes with a chunk that says nothing."""
    data = encoded(Image.new("RGB", (width, height), (200, 40, 40)), "PNG")
    if size:
        free = size - len(with_chunk(data, chunk(b"teSt", b"")))
        data = with_chunk(data, chunk(b"teSt", bytes(free)))
        assert len(data) == size
    return common_pb2.Input(image=data)


def pixels(width: int, height: int) -> common_pb2.Input:
    return common_pb2.Input(pixels=to_tensor(np.full((height, width, 3), 99, np.uint8)))


AREAS = {999: (27, 37), 1000: (40, 25), 1001: (77, 13)}
IMAGE_CASES: dict[str, tuple[int, str, Callable[[int], common_pb2.Input]]] = {
    "pixels": (1000, "image.pixels", lambda n: image(*AREAS[n])),
    "pixels of a width": (100, "image.side", lambda n: image(n, 2)),
    "pixels of a height": (100, "image.side", lambda n: image(2, n)),
    "bytes": (2000, "image", lambda n: image(30, 30, n)),
    "pixels of a tensor": (1000, "pixels", lambda n: pixels(*AREAS[n])),
    "a tensor's width": (100, "pixels.side", lambda n: pixels(n, 2)),
    "a tensor's height": (100, "pixels.side", lambda n: pixels(2, n)),
}


async def test_image_at_a_limit_is_answered_and_beyond_it_refused_by_its_field(
    start_server: StartServer,
) -> None:
    limits = {"max_pixels": 1000, "max_side": 100, "max_image_bytes": 2000}
    # Each picture fills a batch, and none is known from before.
    settings = {**limits, "max_batch_cost": IMAGE_SIDE**2, "embedding_cache_bytes": 0}
    backbone = TinyImageBackbone()
    async with _served(start_server, backbone=backbone, **settings) as both:
        await both.server.ask("ImportHead", import_request(backbone=backbone.name))
        for what, (limit, field, build) in IMAGE_CASES.items():
            for size in (limit - 1, limit):
                backbone.batches.clear()
                asked = predict(build(size), image(20, 20))
                assert await both.ask(*asked) == [("OK", "")] * 2, f"{what}: {size}"
                assert list(map(len, backbone.batches)) == [1] * 4
            refused = [("INVALID_ARGUMENT", field)] * 2
            assert await both.ask(*predict(build(limit + 1))) == refused, f"{what}: {limit + 1}"


async def test_head_takes_as_many_examples_as_its_limit_and_no_more(both: Both) -> None:
    for count, code in ((EXAMPLES - 1, "OK"), (1, "OK"), (1, "RESOURCE_EXHAUSTED")):
        stored = (await both.server.ask("GetHead", named("defects")[1])).head.example_count
        rows = [
            heads_pb2.NewExample(input=common_pb2.Input(text=f"n{stored + i}"), label="yes")
            for i in range(count)
        ]
        request = heads_pb2.AddExamplesRequest(head=HEAD, examples=rows)
        found = await both.ask("AddExamples", request)
        assert [answer[0] for answer in found] == [code] * 2, stored


def _varint(number: int) -> bytes:
    """Exactly three bytes."""
    assert 2**14 <= number < 2**21
    return bytes([number & 127 | 128, number >> 7 & 127 | 128, number >> 14])


def _code(grpc: Grpc, method: str, message: bytes) -> str:
    try:
        grpc.exchange(METHODS[method], [message], DEADLINE)
    except Refused as error:
        return error.code
    return "OK"
