"""The protocols' routes in front of handlers that say how many rows they were sent."""

from __future__ import annotations

from typing import Any

import httpx
import numpy as np

from service.errors import InvalidRequest
from service.requests.call import Call
from service.requests.calls import Handler
from service.requests.fields import check_rows
from service.requests.tensors import to_tensor
from service.transport.protocols.label_studio.pictures import Pictures
from service.transport.protocols.routes import protocol_routes
from service.transport.rest import rest_app
from tests.service.transport.open_backend import as_anyone, open_backend
from trunkline.v1 import extraction_pb2, heads_pb2, prediction_pb2

LABELS = ["good", "bad", "torn"]
MAX_ROWS = 1000
DIM = 4


async def predict(
    request: prediction_pb2.PredictRequest, call: Call
) -> prediction_pb2.PredictResponse:
    """Fails rows without an input, and texts that begin with "fail"; the others are "torn"."""
    check_rows("inputs", len(request.inputs), MAX_ROWS)
    reply = prediction_pb2.PredictResponse(digests=["d"] * len(request.inputs))
    rows = []
    for row, sent in enumerate(request.inputs):
        if not sent.WhichOneof("kind") or sent.text_utf8.startswith(b"fail"):
            reply.errors.add(row=row, code="INVALID_ARGUMENT", message="text: failed")
        else:
            rows.append(row)
    scores = np.tile(np.array([0.6, 0.3, 0.1], np.float32), (len(rows), 1))
    order = np.tile(np.array([2, 0, 1], np.uint32), (len(rows), 1))
    top_k = request.top_k or len(LABELS)
    reply.predictions.add(
        head=request.head,
        version=request.version or 3,
        labels=LABELS,
        rows=rows,
        indices=to_tensor(np.ascontiguousarray(order[:, :top_k])),
        probabilities=to_tensor(np.ascontiguousarray(scores[:, :top_k])),
    )
    return reply


async def embed(request: extraction_pb2.EmbedRequest, call: Call) -> extraction_pb2.EmbedResponse:
    """Gives each row a vector; fails texts that begin with "fail"."""
    check_rows("inputs", len(request.inputs), MAX_ROWS)
    vectors = np.arange(len(request.inputs) * DIM, dtype=np.float32).reshape(-1, DIM)
    reply = extraction_pb2.EmbedResponse(
        backbone=request.backbone,
        embeddings=to_tensor(vectors),
        digests=["d"] * len(request.inputs),
        truncated=[0],
    )
    for row, sent in enumerate(request.inputs):
        if sent.text_utf8.startswith(b"fail"):
            reply.errors.add(row=row, code="INVALID_ARGUMENT", message="text: failed")
    return reply


async def get_head(request: heads_pb2.GetHeadRequest, call: Call) -> heads_pb2.GetHeadResponse:
    """Knows every head; those called "images" stand on a backbone for images."""
    kind = "image" if request.name.endswith("images") else "text"
    head = heads_pb2.Head(
        name=request.name, backbone=f"{kind}/one", active_version=3, labels=LABELS, fingerprint="f"
    )
    return heads_pb2.GetHeadResponse(head=head)


async def get_head_version(request: heads_pb2.GetHeadVersionRequest, call: Call) -> Any:
    raise InvalidRequest("name: there is no such version", field="name")


async def list_heads(request: heads_pb2.ListHeadsRequest, call: Call) -> Any:
    reply = heads_pb2.ListHeadsResponse()
    number = int(request.page_token or 0)
    reply.heads.add(name=f"tenants/acme/heads/h{number}", backbone="text/one", active_version=1)
    reply.next_page_token = str(number + 1) if number < 2 else ""
    return reply


async def list_backbones(request: extraction_pb2.ListBackbonesRequest, call: Call) -> Any:
    reply = extraction_pb2.ListBackbonesResponse()
    for kind in ("text", "image"):
        reply.backbones.add(name=f"{kind}/one", modality=kind, dim=DIM, ready=True)
    return reply


NONE = Pictures()

HANDLERS: dict[str, Handler] = {
    "Predict": predict,
    "Embed": embed,
    "GetHead": get_head,
    "GetHeadVersion": get_head_version,
    "ListHeads": list_heads,
    "ListBackbones": list_backbones,
}


def asked(pictures: Pictures = NONE, **handlers: Handler) -> httpx.AsyncClient:
    """Returns a client of the routes; `handlers` take the place of those above."""
    backend = open_backend({**HANDLERS, **handlers})
    app = as_anyone(rest_app(backend, protocol_routes(backend, pictures)))
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 50_000))
    return httpx.AsyncClient(transport=transport, base_url="http://server")
