"""Every route that is no twin of an RPC, and every gRPC method that is none of ours; by hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from service.transport.protocols.oip.messages import message_class


class Needs(Enum):
    """Who gets through."""

    NOTHING = "anybody"
    A_KEY = "whoever has a key"
    METRICS = "operators, and whoever may read metrics"


@dataclass(frozen=True)
class Route:
    """A route, and what whoever gets through is answered."""

    asked: str
    needs: Needs
    code: str = "OK"
    given: dict[str, Any] = field(default_factory=dict, hash=False)
    routed: str = ""
    """The route's path, if it has another form."""
    like: str = ""
    """What a refusal looks like, for a protocol whose refusals have a form of their own."""

    def __str__(self) -> str:
        return self.asked


WEB_SOCKET = {
    "headers": {
        "connection": "upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
        "sec-websocket-version": "13",
    }
}
GOOD = {"text": "good"}

OIP, OPENAI, HUGGING_FACE = "GET /v2/none", "GET /v1/models/none", "POST /hf/none/none"
V2_PATH = "/v2/models/{path:path}"
_TENSOR = {"name": "text", "datatype": "BYTES", "shape": [1], "data": ["good"]}
INFER = {"json": {"inputs": [_TENSOR]}}
PLAIN = {"json": {"inputs": "good"}}

LABEL_STUDIO = "/label-studio/acme/shown"
_CONFIG = (
    '<View><Text name="t" value="$t"/>'
    '<Choices name="c" toName="t"><Choice value="a"/><Choice value="b"/></Choices></View>'
)
TASKS = {"json": {"label_config": _CONFIG, "tasks": [{"id": 1, "data": {"t": "good"}}]}}

PROTOCOLS = [
    Route(
        f"POST {LABEL_STUDIO}/predict",
        Needs.A_KEY,
        given=TASKS,
        routed="/label-studio/{tenant}/{head}/predict",
    ),
    Route("GET /v2/health/live", Needs.NOTHING),
    Route("GET /v2/health/ready", Needs.NOTHING),
    *(
        Route(f"GET {path}", Needs.A_KEY, routed=routed, like=OIP)
        for path, routed in (
            ("/v2", ""),
            ("/v2/models", ""),
            ("/v2/models/acme/shown", V2_PATH),
            ("/v2/models/acme/shown/ready", V2_PATH),
            ("/v2/models/acme/shown/versions/1/config", V2_PATH),
            ("/v2/models/backbones/minilm/l6-v2", V2_PATH),
        )
    ),
    Route("POST /v2/repository/index", Needs.A_KEY, like=OIP),
    Route("POST /v2/models/acme/shown/infer", Needs.A_KEY, "OK", INFER, V2_PATH, OIP),
    Route("POST /v2/models/backbones/minilm/l6-v2/infer", Needs.A_KEY, "OK", INFER, V2_PATH, OIP),
    Route("GET /v1/models", Needs.A_KEY, like=OPENAI),
    Route(
        "GET /v1/models/minilm/l6-v2", Needs.A_KEY, routed="/v1/models/{model:path}", like=OPENAI
    ),
    Route(
        "POST /v1/embeddings",
        Needs.A_KEY,
        given={"json": {"model": "minilm/l6-v2", "input": "good"}},
        like=OPENAI,
    ),
    *(
        Route(f"POST /hf/{model}", Needs.A_KEY, "OK", PLAIN, "/hf/{path:path}", HUGGING_FACE)
        for model in ("acme/shown", "backbones/minilm/l6-v2")
    ),
]

ROUTES = [
    *PROTOCOLS,
    Route(
        f"GET {LABEL_STUDIO}/health",
        Needs.A_KEY,
        routed="/label-studio/{tenant}/{head}/health",
    ),
    Route(
        f"POST {LABEL_STUDIO}/setup",
        Needs.A_KEY,
        given={"json": {"schema": _CONFIG}},
        routed="/label-studio/{tenant}/{head}/setup",
    ),
    Route(
        f"POST {LABEL_STUDIO}/webhook",
        Needs.A_KEY,
        given={"json": {"action": "PROJECT_UPDATED"}},
        routed="/label-studio/{tenant}/{head}/webhook",
    ),
    Route("GET /livez", Needs.NOTHING),
    Route("GET /healthz", Needs.NOTHING),
    Route("GET /readyz", Needs.NOTHING),
    Route("GET /", Needs.NOTHING),
    Route("GET /docs", Needs.NOTHING),
    Route("GET /docs/docs.js", Needs.NOTHING, routed="/docs/{name}"),
    Route("GET /docs/swagger-ui.css", Needs.NOTHING, routed="/docs/{name}"),
    Route("GET /docs/swagger-ui-bundle.js", Needs.NOTHING, routed="/docs/{name}"),
    Route("GET /openapi.json", Needs.NOTHING),
    Route("GET /console", Needs.NOTHING),
    Route("GET /console/app.js", Needs.NOTHING, routed="/console/{path:path}"),
    Route("GET /console/pages/heads.js", Needs.NOTHING, routed="/console/{path:path}"),
    Route("GET /metrics", Needs.METRICS),
    Route("GET /schema.json", Needs.A_KEY),
    Route("POST /predict", Needs.A_KEY, given={"json": {"head": "acme/shown", "inputs": [GOOD]}}),
    Route("POST /embed", Needs.A_KEY, given={"json": {"tenant": "acme", "inputs": [GOOD]}}),
    Route("GET /docs.json", Needs.A_KEY, "UNIMPLEMENTED"),
    Route(
        "GET /static_content/x", Needs.A_KEY, "UNIMPLEMENTED", routed="/static_content/{path:path}"
    ),
    Route("GET /assets/x", Needs.A_KEY, "UNIMPLEMENTED", routed="/assets/{path:path}"),
]

NO_ROUTES = [
    *(
        Route(asked, Needs.NOTHING, "UNIMPLEMENTED")
        for asked in (
            "POST /",
            "DELETE /docs",
            "GET /docs/none",
            "PUT /docs/docs.js",
            "GET /console/none.js",
            "POST /console",
            "PUT /console/app.js",
        )
    ),
    *(
        Route(asked, Needs.A_KEY, "UNIMPLEMENTED")
        for asked in (
            "GET /nothing",
            "GET /v1",
            "GET /v1/",
            "GET /predict",
            "PUT /v1/backbones",
            "OPTIONS /v1/backbones",
            "PATCH /v1/tenants/acme/heads/shown",
            "GET /v1/tenants/acme/heads/shown:predict",
            "GET /docsx",
            "GET /consolex",
            "GET /LIVEZ",
            "GET /v1/../livez/x",
        )
    ),
    *(
        Route(asked, Needs.A_KEY, "UNIMPLEMENTED", like=OIP)
        for asked in ("GET /v2/backbones", "GET /v2/models/acme", "POST /v2/models/acme/shown")
    ),
    Route("POST /livez", Needs.NOTHING, "405"),
    Route("GET /livez/", Needs.A_KEY, "307"),
    Route("GET /v1/tenants/acme/heads/shown/", Needs.A_KEY, "307"),
    Route("GET /docs/%2e%2e/v1/backbones", Needs.NOTHING, "UNIMPLEMENTED"),
    Route("POST /metrics", Needs.METRICS, "405"),
    Route("GET /ws", Needs.A_KEY, "UNIMPLEMENTED", WEB_SOCKET),
    Route("GET /v1/whoami", Needs.A_KEY, "OK", WEB_SOCKET),
]

HEALTH = "/grpc.health.v1.Health/"
REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
_CHECK = health_pb2.HealthCheckRequest().SerializeToString()
_LIST_SERVICES = reflection_pb2.ServerReflectionRequest(list_services="").SerializeToString()

GRPC_OIP = "/inference.GRPCInferenceService/"
_MODEL = message_class("ModelReadyRequest")(name="acme/shown").SerializeToString()
_QUESTION = message_class("ModelInferRequest")(
    model_name="acme/shown",
    inputs=[{"name": "text", "datatype": "BYTES", "shape": [1]}],
    raw_input_contents=[b"\4\0\0\0good"],
).SerializeToString()

METHODS = [
    Route(HEALTH + "Check", Needs.NOTHING, given={"message": _CHECK}),
    Route(HEALTH + "List", Needs.NOTHING, given={"message": b""}),
    Route(HEALTH + "Watch", Needs.NOTHING, given={"message": _CHECK}),
    *(
        Route(GRPC_OIP + name, Needs.NOTHING, given={"message": b""})
        for name in ("ServerLive", "ServerReady")
    ),
    *(
        Route(GRPC_OIP + name, Needs.A_KEY, given={"message": message})
        for name, message in (
            ("ServerMetadata", b""),
            ("RepositoryIndex", b""),
            ("ModelReady", _MODEL),
            ("ModelMetadata", _MODEL),
            ("ModelInfer", _QUESTION),
        )
    ),
    Route(GRPC_OIP + "ModelStatistics", Needs.A_KEY, "UNIMPLEMENTED", {"message": b""}),
    Route(REFLECTION, Needs.A_KEY, given={"message": _LIST_SERVICES}),
    *(
        Route(path, Needs.A_KEY, "UNIMPLEMENTED", {"message": b""})
        for path in (
            "/trunkline.v1.HeadService/None",
            "/trunkline.v1.TailService/HoldTail",
            "/trunkline.v2.HeadService/GetHead",
            HEALTH + "None",
            "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
            "/nothing",
        )
    ),
]
"""Of gRPC, beside the RPCs."""

WHO_AM_I = {
    True: Route("/trunkline.v1.KeyService/WhoAmI", Needs.A_KEY, given={"message": b""}),
    False: Route("GET /v1/whoami", Needs.A_KEY),
}
"""What takes any key, by whether it is asked for over gRPC."""
