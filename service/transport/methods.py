"""The RPCs as the proto files define them: messages, streaming, and the REST twin of each."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from google.api import annotations_pb2
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from service.access.rules import Rule
from trunkline.v1 import (
    admin_pb2,
    advice_pb2,
    extraction_pb2,
    heads_pb2,
    keys_pb2,
    prediction_pb2,
    reviews_pb2,
    tails_pb2,
    tenants_pb2,
)

EXTRACTION = extraction_pb2.DESCRIPTOR.services_by_name["ExtractionService"]
PREDICTION = prediction_pb2.DESCRIPTOR.services_by_name["PredictionService"]
HEADS = heads_pb2.DESCRIPTOR.services_by_name["HeadService"]
REVIEWS = reviews_pb2.DESCRIPTOR.services_by_name["ReviewService"]
ADVICE = advice_pb2.DESCRIPTOR.services_by_name["AdviceService"]
ADMIN = admin_pb2.DESCRIPTOR.services_by_name["AdminService"]
KEYS = keys_pb2.DESCRIPTOR.services_by_name["KeyService"]
TENANTS = tenants_pb2.DESCRIPTOR.services_by_name["TenantService"]
TAILS = tails_pb2.DESCRIPTOR.services_by_name["TailService"]

OF_THE_SERVER = (EXTRACTION, PREDICTION, HEADS, REVIEWS, ADVICE, ADMIN, KEYS, TENANTS)
OF_THE_EXTRACTOR = (EXTRACTION, TAILS, ADMIN)

_WORD = re.compile(r"(?<=[a-z])(?=[A-Z])")
_VARIABLE = re.compile(r"\{(\w+)=([^}]+)\}")


@dataclass(frozen=True, slots=True)
class RestRoute:
    """The REST twin of an RPC.

    Attributes:
        verb: GET, POST or DELETE.
        path: as Starlette takes it; the ids in it are called id0, id1, …
        field: the request's field that the resource name in the path fills; "" if there is none.
        name: the form of that name, e.g. ``tenants/{id0}/heads/{id1}``.
    """

    verb: str
    path: str
    field: str
    name: str


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC.

    Attributes:
        rest: None for what only servers ask of each other.
        rule: who may call it.
    """

    service: str
    name: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool
    rest: RestRoute | None
    rule: Rule

    @property
    def path(self) -> str:
        """``/trunkline.v1.HeadService/GetHead``."""
        return f"/{self.service}/{self.name}"

    @property
    def handler(self) -> str:
        """``get_head``: the method that handles it."""
        return _WORD.sub("_", self.name).lower()


def methods_of(*services: ServiceDescriptor) -> Iterator[Method]:
    """Yields the RPCs of these services, in the order of the proto files.

    Raises:
        StartupError: one does not say who may call it.
    """
    for service in services:
        for method in service.methods:
            yield Method(
                service=service.full_name,
                name=method.name,
                request=GetMessageClass(method.input_type),
                response=GetMessageClass(method.output_type),
                client_streaming=method.client_streaming,
                server_streaming=method.server_streaming,
                rest=_rest_route(method),
                rule=Rule.of(method),
            )


def rpc_of(verb: str, path: str, methods: Iterable[Method]) -> tuple[str, str]:
    """Returns the RPC whose twin a request is, and the name in its path; "" for what is none."""
    for method in methods:
        if method.rest is None or method.rest.verb != verb:
            continue
        if found := _pattern(method.rest.path).fullmatch(path):
            return method.name, method.rest.name.format(**found.groupdict())
    return "", ""


@lru_cache
def _pattern(template: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/:]+)", template))


def _rest_route(method: MethodDescriptor) -> RestRoute | None:
    if not method.GetOptions().HasExtension(annotations_pb2.http):
        return None
    rule = method.GetOptions().Extensions[annotations_pb2.http]
    verb = rule.WhichOneof("pattern")
    template: str = getattr(rule, verb)
    variable = _VARIABLE.search(template)
    if variable is None:
        return RestRoute(verb.upper(), template, "", "")
    field, pattern = variable.groups()
    name = "/".join(
        f"{{id{i // 2}}}" if part == "*" else part for i, part in enumerate(pattern.split("/"))
    )
    path = template[: variable.start()] + name + template[variable.end() :]
    return RestRoute(verb.upper(), path, field, name)
