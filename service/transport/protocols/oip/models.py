"""Heads and backbones as models of the Open Inference Protocol."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from service.access.caller import Caller
from service.errors import NotFound, PreconditionFailed
from service.requests.paging import MAX_PAGE
from service.transport.foreign.names import BACKBONES, Model
from service.transport.protocols.oip.tensors import BYTES
from trunkline.resources import ALL_TENANTS, HeadName
from trunkline.v1 import extraction_pb2, heads_pb2

PLATFORM = "trunkline"
EXTENSIONS = ["binary_tensor_data", "classification", "model_repository"]
MAX_LISTED = 10_000
"""Heads that a list without pages has; with more there is the API's own list."""

Ask = Callable[[str, Any], Awaitable[Any]]
"""Has the handler of an RPC answer a message."""

Field = tuple[str, str, list[int]]
"""Name, datatype and shape of a tensor."""


@dataclass(frozen=True, slots=True)
class Described:
    """What is told of a model.

    Attributes:
        versions: the one that answers; empty for a head without any.
        fingerprint: of the backbone, by which embeddings are taken.
    """

    name: str
    versions: list[str]
    inputs: list[Field]
    outputs: list[Field]
    backbone: str
    fingerprint: str
    ready: bool


@dataclass(frozen=True, slots=True)
class Listed:
    """A model in a list of all."""

    name: str
    version: str
    ready: bool


def question_of(model: Model) -> heads_pb2.GetHeadRequest | extraction_pb2.ListBackbonesRequest:
    """Returns the request of ``GetHead`` or ``ListBackbones`` that describes a model."""
    if model.head:
        return heads_pb2.GetHeadRequest(name=model.head)
    return extraction_pb2.ListBackbonesRequest()


async def described(model: Model, reply: Any, ask: Ask) -> Described:
    """Describes a model from the reply to `question_of`.

    Raises:
        NotFound: there is no such backbone or version.
        PreconditionFailed: the head's backbone is not loaded.
    """
    if not model.head:
        return _of_backbone(model, _backbone(reply.backbones, model.backbone))
    head = reply.head
    version, labels = head.active_version, head.labels
    if model.version and model.version != version:
        name = str(HeadName.parse(model.head).version(model.version))
        found = await ask("GetHeadVersion", heads_pb2.GetHeadVersionRequest(name=name))
        version, labels = model.version, found.version.labels
    loaded = await ask("ListBackbones", extraction_pb2.ListBackbonesRequest())
    for backbone in loaded.backbones:
        if backbone.name == head.backbone:
            return _of_head(model, head, version, labels, backbone)
    raise PreconditionFailed(
        f"model_name: {model.name} stands on the backbone {head.backbone}, which is not loaded",
        field="model_name",
        limit="a loaded backbone",
        value=head.backbone,
    )


def parent_of(caller: Caller) -> str:
    """Returns the name under which the heads are listed that a caller may see."""
    return f"tenants/{caller.tenant}" if caller.tenant is not None else ALL_TENANTS


def first_page(caller: Caller) -> heads_pb2.ListHeadsRequest:
    """Returns the request of the first page of these heads."""
    return heads_pb2.ListHeadsRequest(parent=parent_of(caller), page_size=MAX_PAGE)


async def listed(caller: Caller, page: Any, ask: Ask) -> list[Listed]:
    """Lists backbones and heads, from the reply to `first_page`.

    Raises:
        PreconditionFailed: there are more than such a list may have.
    """
    loaded = await ask("ListBackbones", extraction_pb2.ListBackbonesRequest())
    ready = {backbone.name for backbone in loaded.backbones if backbone.ready}
    models = [
        Listed(BACKBONES + backbone.name, "1", backbone.name in ready)
        for backbone in loaded.backbones
    ]
    while True:
        for head in page.heads:
            version = head.active_version
            answers = bool(version) and head.backbone in ready
            short = HeadName.parse(head.name).short
            models.append(Listed(short, str(version) if version else "", answers))
        if not page.next_page_token:
            return models
        if len(models) > MAX_LISTED:
            raise PreconditionFailed(
                f"heads: a list without pages has at most {MAX_LISTED}, there are more (ListHeads)",
                field="heads",
                limit=MAX_LISTED,
                value=f"more than {MAX_LISTED}",
            )
        request = first_page(caller)
        request.page_token = page.next_page_token
        page = await ask("ListHeads", request)


def _backbone(backbones: Sequence[Any], name: str) -> Any:
    for backbone in backbones:
        if backbone.name == name:
            return backbone
    raise NotFound.at("model_name", "there is no backbone {value} loaded", "a loaded one", name)


def _of_backbone(model: Model, backbone: Any) -> Described:
    outputs: list[Field] = [("embedding", "FP32", [-1, backbone.dim]), *_COMMON]
    return Described(
        model.name,
        ["1"],
        [(backbone.modality, BYTES, [-1])],
        outputs,
        backbone.name,
        backbone.fingerprint,
        backbone.ready,
    )


def _of_head(
    model: Model, head: Any, version: int, labels: Sequence[str], backbone: Any
) -> Described:
    outputs: list[Field] = [
        ("label", BYTES, [-1]),
        ("probability", "FP32", [-1]),
        ("probabilities", "FP32", [-1, len(labels)]),
        ("classes", BYTES, [len(labels)]),
        *_COMMON,
    ]
    return Described(
        model.name,
        [str(version)] if version else [],
        [(backbone.modality, BYTES, [-1])],
        outputs,
        backbone.name,
        head.fingerprint,
        bool(version) and backbone.ready,
    )


_COMMON: list[Field] = [("error", BYTES, [-1]), ("truncated", "BOOL", [-1])]
