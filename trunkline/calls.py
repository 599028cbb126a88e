"""Every RPC as a value: its request, and how its reply is read.

`Client` and `AsyncClient` both make these calls; neither builds a request or reads a reply itself.
Heads and tenants are given as a person types them (`acme/defects`, `acme`) or by their full names.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trunkline import replies
from trunkline.errors import InvalidArgument
from trunkline.resources import HeadName, InvalidName, TenantName, VersionName
from trunkline.v1 import (
    extraction_pb2,
    extraction_pb2_grpc,
    heads_pb2,
    heads_pb2_grpc,
    prediction_pb2_grpc,
)
from trunkline.values import (
    Backbone,
    Example,
    Export,
    Head,
    HeadSpec,
    Report,
    RowFailure,
    Training,
    Version,
)

T = TypeVar("T")

EXTRACTION = extraction_pb2_grpc.ExtractionServiceStub
HEADS = heads_pb2_grpc.HeadServiceStub
PREDICTION = prediction_pb2_grpc.PredictionServiceStub
HEALTH = health_pb2_grpc.HealthStub
STUBS: tuple[Any, ...] = (EXTRACTION, HEADS, PREDICTION, HEALTH)

_PAGE_SIZE = 1000


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, one reply. One that is not `idempotent` is not repeated once it was sent."""

    stub: Any
    rpc: str
    request: Message
    read: Callable[[Any], T]
    idempotent: bool = True


@dataclass(frozen=True)
class SendExamples(Generic[T]):
    """A stream of requests and one reply.

    `sent` is told of each message that was handed over; the deadline grows with `count` messages.
    """

    messages: Iterator[heads_pb2.AddExamplesRequest]
    count: int
    sent: Callable[[], None]
    read: Callable[[heads_pb2.AddExamplesResponse], T]
    stub: Any = HEADS
    rpc: str = "AddExamples"


@dataclass(frozen=True)
class WatchTraining:
    """One request, and a stream of replies that `seen` is told of; None waits to its end."""

    request: heads_pb2.TrainHeadRequest
    seen: Callable[[heads_pb2.TrainHeadResponse], None]
    timeout: float | None
    stub: Any = HEADS
    rpc: str = "TrainHead"


@dataclass(frozen=True)
class Pause:
    """A wait, in seconds, before a broken stream is taken up again."""

    seconds: float


class Page(NamedTuple, Generic[T]):
    """Part of a list, and where the next part begins ("" at the end)."""

    items: list[T]
    next_token: str


def ready(service: str) -> Call[bool]:
    """Whether `service` answers; "" stands for the server as a whole."""
    return Call(
        HEALTH,
        "Check",
        health_pb2.HealthCheckRequest(service=service),
        lambda reply: bool(reply.status == health_pb2.HealthCheckResponse.SERVING),
    )


def list_backbones() -> Call[list[Backbone]]:
    """ListBackbones."""
    return Call(
        EXTRACTION,
        "ListBackbones",
        extraction_pb2.ListBackbonesRequest(),
        lambda reply: [replies.backbone(row) for row in reply.backbones],
    )


def create_head(head: str, backbone: str, spec: HeadSpec | None, keep_inputs: bool) -> Call[Head]:
    """CreateHead."""
    name = head_name(head)
    request = heads_pb2.CreateHeadRequest(
        parent=str(name.parent),
        head_id=name.head,
        backbone=backbone,
        spec=spec_message(spec),
        keep_inputs=keep_inputs,
    )
    return Call(HEADS, "CreateHead", request, _head, idempotent=False)


def get_head(head: str) -> Call[Head]:
    """GetHead."""
    return Call(HEADS, "GetHead", heads_pb2.GetHeadRequest(name=str(head_name(head))), _head)


def list_heads(tenant: str, token: str) -> Call[Page[Head]]:
    """One page of ListHeads."""
    request = heads_pb2.ListHeadsRequest(
        parent=str(tenant_name(tenant)), page_size=_PAGE_SIZE, page_token=token
    )
    return Call(
        HEADS,
        "ListHeads",
        request,
        lambda reply: Page([replies.head(row) for row in reply.heads], reply.next_page_token),
    )


def delete_head(head: str) -> Call[None]:
    """DeleteHead."""
    request = heads_pb2.DeleteHeadRequest(name=str(head_name(head)))
    return Call(HEADS, "DeleteHead", request, lambda _: None, idempotent=False)


def find_missing(head: str, digests: Sequence[str]) -> Call[set[str]]:
    """FindMissingInputs."""
    request = heads_pb2.FindMissingInputsRequest(head=str(head_name(head)), digests=digests)
    return Call(HEADS, "FindMissingInputs", request, lambda reply: set(reply.missing))


def list_examples(head: str, label: str | None, token: str) -> Call[Page[Example]]:
    """One page of ListExamples."""
    request = heads_pb2.ListExamplesRequest(
        head=str(head_name(head)), page_size=_PAGE_SIZE, page_token=token, label=label
    )
    return Call(
        HEADS,
        "ListExamples",
        request,
        lambda reply: Page([replies.example(row) for row in reply.examples], reply.next_page_token),
    )


def update_examples(
    head: str, labels: Mapping[str, str | None]
) -> Call[tuple[int, list[RowFailure]]]:
    """UpdateExamples."""
    request = heads_pb2.UpdateExamplesRequest(
        head=str(head_name(head)),
        updates=[
            heads_pb2.ExampleUpdate(digest=digest, label=label) for digest, label in labels.items()
        ],
    )
    return Call(
        HEADS,
        "UpdateExamples",
        request,
        lambda reply: (reply.updated, [replies.failure(row) for row in reply.errors]),
    )


def delete_examples(head: str, digests: Sequence[str]) -> Call[tuple[int, list[RowFailure]]]:
    """DeleteExamples."""
    request = heads_pb2.DeleteExamplesRequest(head=str(head_name(head)), digests=digests)
    return Call(
        HEADS,
        "DeleteExamples",
        request,
        lambda reply: (reply.deleted, [replies.failure(row) for row in reply.errors]),
    )


def get_training(name: str) -> Call[Training]:
    """GetTraining."""
    request = heads_pb2.GetTrainingRequest(name=name)
    return Call(HEADS, "GetTraining", request, _training)


def cancel_training(name: str) -> Call[Training]:
    """CancelTraining."""
    request = heads_pb2.CancelTrainingRequest(name=name)
    return Call(HEADS, "CancelTraining", request, _training)


def import_head(
    head: str,
    safetensors: bytes,
    backbone: str,
    fingerprint: str,
    labels: Sequence[str],
    activate: bool,
) -> Call[Version]:
    """ImportHead."""
    name = head_name(head)
    request = heads_pb2.ImportHeadRequest(
        parent=str(name.parent),
        head_id=name.head,
        backbone=backbone,
        fingerprint=fingerprint,
        safetensors=safetensors,
        labels=labels,
        activate=activate,
    )
    return Call(
        HEADS,
        "ImportHead",
        request,
        lambda reply: replies.version(reply.version),
        idempotent=False,
    )


def export_head(head: str, version: int | None) -> Call[Export]:
    """ExportHead."""
    request = heads_pb2.ExportHeadRequest(name=str(head_name(head)), version=version or 0)
    return Call(
        HEADS,
        "ExportHead",
        request,
        lambda reply: Export(replies.version(reply.version), reply.safetensors),
    )


def list_versions(head: str, token: str) -> Call[Page[Version]]:
    """One page of ListHeadVersions."""
    request = heads_pb2.ListHeadVersionsRequest(
        head=str(head_name(head)), page_size=_PAGE_SIZE, page_token=token
    )
    return Call(
        HEADS,
        "ListHeadVersions",
        request,
        lambda reply: Page([replies.version(row) for row in reply.versions], reply.next_page_token),
    )


def activate(head: str, version: int) -> Call[Head]:
    """ActivateHeadVersion."""
    request = heads_pb2.ActivateHeadVersionRequest(name=str(_version_name(head, version)))
    return Call(HEADS, "ActivateHeadVersion", request, _head)


def report(head: str, version: int | None) -> Call[Report]:
    """GetHeadReport."""
    request = heads_pb2.GetHeadReportRequest(name=str(_version_name(head, version)))
    return Call(HEADS, "GetHeadReport", request, lambda reply: replies.report(reply.report))


def head_name(text: str) -> HeadName:
    """The head's name. Raises `InvalidArgument`."""
    try:
        return HeadName.read(text)
    except InvalidName as error:
        raise _invalid(error) from error


def tenant_name(text: str) -> TenantName:
    """The tenant's name. Raises `InvalidArgument`."""
    try:
        return TenantName.read(text)
    except InvalidName as error:
        raise _invalid(error) from error


def spec_message(spec: HeadSpec | None) -> heads_pb2.HeadSpec | None:
    """The spec as it goes over the wire."""
    if spec is None:
        return None
    return heads_pb2.HeadSpec(family=spec.family, seed=spec.seed, l2=spec.l2)


def _version_name(head: str, version: int | None) -> VersionName:
    try:
        return head_name(head).version(version)
    except InvalidName as error:
        raise _invalid(error) from error


def _invalid(error: InvalidName) -> InvalidArgument:
    return InvalidArgument(str(error), field=error.field, limit=error.limit, value=error.value)


def _head(reply: Any) -> Head:
    return replies.head(reply.head)


def _training(reply: Any) -> Training:
    return replies.training(reply.training)
