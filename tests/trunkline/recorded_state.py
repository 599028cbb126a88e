"""What the recording server remembers, and how it refuses."""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf import any_pb2, duration_pb2
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc_status import rpc_status

from trunkline import digest
from trunkline.v1 import advice_pb2, common_pb2, extraction_pb2, heads_pb2, reviews_pb2

FINGERPRINT = "ab" * 32
Hook = Callable[[Any, grpc.ServicerContext], object]


def backbone(name: str, modality: str, fingerprint: str = FINGERPRINT) -> extraction_pb2.Backbone:
    return extraction_pb2.Backbone(
        name=name,
        modality=modality,
        dim=1,
        fingerprint=fingerprint,
        ready=True,
        cut="blocks.3",
        tail_blocks=["blocks.3", "blocks.4"],
    )


def refuse(
    context: grpc.ServicerContext,
    code: str,
    message: str,
    *,
    field: str = "",
    limit: str = "",
    value: str = "",
    retry_seconds: float | None = None,
) -> None:
    """Ends the call as the real server does: with google.rpc details and a request id."""
    details = [
        error_details_pb2.ErrorInfo(
            reason="TESTED",
            domain="trunkline",
            metadata={"field": field, "limit": limit, "value": value},
        ),
        error_details_pb2.RequestInfo(request_id="req-1"),
    ]
    if retry_seconds is not None:
        delay = duration_pb2.Duration()
        delay.FromNanoseconds(round(retry_seconds * 1e9))
        details.append(error_details_pb2.RetryInfo(retry_delay=delay))
    packed = []
    for detail in details:
        packed.append(any_pb2.Any())
        packed[-1].Pack(detail)
    status = status_pb2.Status(code=code_pb2.Code.Value(code), message=message, details=packed)
    context.abort_with_status(rpc_status.to_status(status))


def digest_of(item: common_pb2.Input) -> str:
    match item.WhichOneof("kind"):
        case "image":
            return digest.image_digest(item.image)
        case "text":
            return digest.text_digest(item.text)
        case "text_utf8":
            return digest.text_digest(item.text_utf8)
        case "pixels":
            return digest.pixels_digest(item.pixels.shape, item.pixels.data)
        case "embedding":
            return digest.embedding_digest(item.embedding.fingerprint, item.embedding.vector.data)
    return item.digest


class State:
    """Heads, examples and feedback in dictionaries; `hooks` run before a method answers."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, Any]] = []
        self.metadata: list[dict[str, str]] = []
        self.hooks: dict[str, list[Hook]] = {}
        loaded = [("efficientnet/lite0", "image"), ("minilm/l6-v2", "text")]
        self.backbones = {name: backbone(name, modality) for name, modality in loaded}
        self.heads: dict[str, heads_pb2.Head] = {}
        self.examples: dict[str, dict[str, str | None]] = {}
        self.versions: dict[str, list[heads_pb2.HeadVersion]] = {}
        self.inputs: dict[str, heads_pb2.NewExample] = {}
        self.reviews: dict[str, reviews_pb2.Review] = {}
        self.leased: set[str] = set()  # to others
        self.served = reviews_pb2.GetServedAccuracyResponse()
        self.feedback: dict[str, list[heads_pb2.FeedbackRecord]] = {}
        self.feedback_ids: set[str] = set()
        self.bad_digests: set[str] = set()
        self.corrections: dict[str, str] = {}
        self.confusion: list[list[int]] | None = None
        self.page = 2
        self.training_error: tuple[str, str] | None = None
        self.inactive_reason = ""
        self.verdict = advice_pb2.VERDICT_DIRECT
        self.recommended = "direct"
        self.removed_versions: list[int] = []

    def asked(self, method: str) -> list[Any]:
        return [request for name, request in self.requests if name == method]

    def _record(self, method: str, request: Any, context: grpc.ServicerContext) -> None:
        self.requests.append((method, request))
        self.metadata.append({str(key): str(value) for key, value in context.invocation_metadata()})
        if self.hooks.get(method):
            self.hooks[method].pop(0)(request, context)

    def _head(self, name: str, context: grpc.ServicerContext) -> heads_pb2.Head:
        if name not in self.heads:
            refuse(context, "NOT_FOUND", f"no head {name}", field="head", value=name)
        return self.heads[name]

    def _error(self, row: int, message: str, code: str = "INVALID_ARGUMENT") -> Any:
        return common_pb2.RowError(row=row, code=code, message=message, field="input")

    def _part(self, rows: list[Any], token: str) -> tuple[list[Any], str]:
        start = int(token or 0)
        end = start + self.page
        return rows[start:end], str(end) if end < len(rows) else ""
