"""Every RPC as a value: its request, and how its reply is read.

`Client` and `AsyncClient` both make these calls; neither builds a request or reads a reply itself.
Heads and tenants are given as a person types them (`acme/defects`, `acme`) or by their full names.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, NamedTuple, TypeVar

from google.protobuf.message import Message
from grpc_health.v1 import health_pb2, health_pb2_grpc

from trunkline import replies
from trunkline.errors import InvalidArgument, InvalidType
from trunkline.resources import HeadName, InvalidName, TenantName, VersionName
from trunkline.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    advice_pb2_grpc,
    extraction_pb2,
    extraction_pb2_grpc,
    heads_pb2,
    heads_pb2_grpc,
    prediction_pb2_grpc,
)
from trunkline.values.foreign import type_of
from trunkline.values.outcomes import Backbone, Training
from trunkline.wire.building import build

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

ADMIN = admin_pb2_grpc.AdminServiceStub
ADVICE = advice_pb2_grpc.AdviceServiceStub
EXTRACTION = extraction_pb2_grpc.ExtractionServiceStub
HEADS = heads_pb2_grpc.HeadServiceStub
PREDICTION = prediction_pb2_grpc.PredictionServiceStub
HEALTH = health_pb2_grpc.HealthStub
STUBS: tuple[Any, ...] = (ADMIN, ADVICE, EXTRACTION, HEADS, PREDICTION, HEALTH)

PAGE_SIZE = 1000
# The first time a backbone is loaded it may have to be fetched and exported.
_LOADING_SECONDS = 600.0


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, one reply. One that is not `idempotent` is not repeated once it was sent.

    Where the caller names no timeout, it is `at_least` so many seconds.
    """

    stub: Any
    rpc: str
    request: Message
    read: Callable[[Any], T]
    idempotent: bool = True
    at_least: float = 0.0


@dataclass(frozen=True)
class SendExamples(Generic[T]):
    """A stream of requests and one reply.

    `sent` is called after each message that was handed over; the deadline grows with `count`
    messages, and by `work`, the seconds that the answer may take after them.
    """

    messages: Iterator[Message]
    count: int
    sent: Callable[[], None]
    read: Callable[[Any], T]
    stub: Any = HEADS
    rpc: str = "AddExamples"
    work: float = 0.0


@dataclass(frozen=True)
class WatchTraining:
    """One request, and a stream of replies, each given to `seen`; None as `timeout` is forever."""

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
    """Builds the call that asks whether `service` answers; "" stands for the whole server."""
    return Call(
        HEALTH,
        "Check",
        build(health_pb2.HealthCheckRequest, service=service),
        lambda reply: bool(reply.status == health_pb2.HealthCheckResponse.SERVING),
    )


def list_backbones() -> Call[list[Backbone]]:
    """Builds the call `ListBackbones`."""
    return Call(
        EXTRACTION,
        "ListBackbones",
        extraction_pb2.ListBackbonesRequest(),
        lambda reply: [replies.backbone(row) for row in reply.backbones],
    )


def load_backbone(name: str) -> Call[Backbone]:
    """Builds the call `LoadBackbone`."""
    return Call(
        ADMIN,
        "LoadBackbone",
        build(admin_pb2.LoadBackboneRequest, name=name),
        lambda reply: replies.backbone(reply.backbone),
        at_least=_LOADING_SECONDS,
    )


def unload_backbone(name: str) -> Call[list[Backbone]]:
    """Builds the call `UnloadBackbone`."""
    return Call(
        ADMIN,
        "UnloadBackbone",
        build(admin_pb2.UnloadBackboneRequest, name=name),
        lambda reply: [replies.backbone(row) for row in reply.backbones],
        idempotent=False,
    )


def get_training(name: str) -> Call[Training]:
    """Builds the call `GetTraining`."""
    request = build(heads_pb2.GetTrainingRequest, name=name)
    return Call(HEADS, "GetTraining", request, _training)


def cancel_training(name: str) -> Call[Training]:
    """Builds the call `CancelTraining`."""
    request = build(heads_pb2.CancelTrainingRequest, name=name)
    return Call(HEADS, "CancelTraining", request, _training)


def head_name(text: str) -> HeadName:
    """Reads a head's name. Raises `InvalidArgument`."""
    try:
        return HeadName.read(_name(text, "head"))
    except InvalidName as error:
        raise invalid(error) from error


def tenant_name(text: str) -> TenantName:
    """Reads a tenant's name. Raises `InvalidArgument`."""
    try:
        return TenantName.read(_name(text, "tenant"))
    except InvalidName as error:
        raise invalid(error) from error


def _name(text: object, field: str) -> str:
    if isinstance(text, str):
        return text
    raise InvalidType(
        f"{field} must be a str, is {type_of(text)}",
        field=field,
        limit="a str",
        value=type(text).__name__,
    )


def version_name(head: str, version: int | None) -> VersionName:
    """Returns a version's name; None for the active one. Raises `InvalidArgument`."""
    try:
        return head_name(head).version(version)
    except InvalidName as error:
        raise invalid(error) from error


def one_of(kind: type[E], value: str, *, field: str) -> E:
    """Returns the member that `value` is or names. Raises `InvalidArgument`."""
    try:
        return kind(value)
    except ValueError as error:
        known = ", ".join(kind)
        raise InvalidArgument(
            f"{field} must be one of {known}, is {value!r}",
            field=field,
            limit=known,
            value=str(value),
        ) from error


def invalid(error: InvalidName) -> InvalidArgument:
    """Returns the error of the client's own tree that a name's error stands for."""
    return InvalidArgument(str(error), field=error.field, limit=error.limit, value=error.value)


def _training(reply: Any) -> Training:
    return replies.training(reply.training)
