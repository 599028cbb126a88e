"""Every RPC, and who may call it, by hand: so a wrong option in a proto file is seen."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

TENANT = "tenants/{tenant}"
HEAD = "tenants/{tenant}/heads/{head}"
VERSION = HEAD + "/versions/1"
TRAINING = HEAD + "/trainings/none"
KEY = "keys/{key}"
EMBEDS = {"inputs": [{"text": "good"}]}
DIGEST = "0" * 64
OPERATE = "operate"
ANYBODY = ("predict", "feedback", "label", "train", "own")


@dataclass(frozen=True)
class Rpc:
    """One RPC, asked for in a way that is in order.

    Attributes:
        method: ``HeadService/GetHead``.
        rest: verb and path of its twin, in which {} stands for what it names; "" if it has none.
        roles: of which one will do.
        field: the one that names a resource; "" if none does.
        name: the form of that name.
        more: the other fields.
        reaches: what it comes to where the role is right, and the resource is there.
    """

    method: str
    rest: str
    roles: tuple[str, ...]
    field: str = ""
    name: str = ""
    more: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    reaches: str = "OK"

    def __str__(self) -> str:
        return self.method

    @property
    def reads(self) -> bool:
        return self.rest.startswith("GET ")

    @property
    def of_head(self) -> bool:
        return "{head}" in self.name

    @property
    def of_key(self) -> bool:
        return self.name == KEY


def _head(method: str, rest: str, *roles: str, **more: Any) -> Rpc:
    return Rpc(f"HeadService/{method}", rest, roles or ANYBODY, "head", HEAD, more)


def _failing(rpc: Rpc, reaches: str = "FAILED_PRECONDITION") -> Rpc:
    """A row whose request comes to nothing, as there is no training, feedback or example."""
    return replace(rpc, reaches=reaches)


def _named(method: str, rest: str, *roles: str, name: str = HEAD, **more: Any) -> Rpc:
    return Rpc(f"HeadService/{method}", rest, roles or ANYBODY, "name", name, more)


HEADS = [
    Rpc(
        "HeadService/CreateHead",
        "POST /v1/{}/heads",
        ("train",),
        "parent",
        TENANT,
        {"head_id": "fresh", "backbone": "minilm/l6-v2"},
    ),
    _named("GetHead", "GET /v1/{}"),
    _named("UpdateHead", "POST /v1/{}:update", "train", policy="FEEDBACK_POLICY_MANUAL"),
    Rpc("HeadService/ListHeads", "GET /v1/{}/heads", ANYBODY, "parent", TENANT),
    _named("DeleteHead", "DELETE /v1/{}", "own"),
    _head("FindMissingInputs", "POST /v1/{}:findMissingInputs", "train", digests=[DIGEST]),
    _head(
        "AddExamples",
        "POST /v1/{}/examples",
        "train",
        examples=[{"input": {"text": "new"}, "label": "a"}],
    ),
    _head("ListExamples", "GET /v1/{}/examples", "label", "train"),
    _head("SearchExamples", "POST /v1/{}/examples:search", "label", "train", label="a"),
    _failing(
        _head(
            "FindSimilar",
            "POST /v1/{}/examples:similar",
            *("label", "train"),
            input={"digest": DIGEST},
        ),
        "NOT_FOUND",
    ),
    _head(
        "UpdateExamples",
        "POST /v1/{}/examples:update",
        *("label", "train"),
        updates=[{"digest": DIGEST, "label": "a"}],
    ),
    _head("DeleteExamples", "POST /v1/{}/examples:delete", "train", digests=[DIGEST]),
    _head("ForgetExamples", "POST /v1/{}/examples:forget", "own", digests=[DIGEST]),
    _head("ListLabels", "GET /v1/{}/labels"),
    _head("RenameLabel", "POST /v1/{}/labels:rename", "train", label="a", new_label="c"),
    _failing(
        _head("DescribeLabels", "POST /v1/{}/labels:describe", "train", descriptions={"a": "b"})
    ),
    _failing(_head("MergeLabels", "POST /v1/{}/labels:merge", "train", labels=["a"], into="b")),
    _failing(
        _head(
            "DeleteLabel",
            "POST /v1/{}/labels:delete",
            "train",
            label="a",
            examples="EXAMPLES_OF_LABEL_DELETE",
        )
    ),
    _head("SuggestExamples", "POST /v1/{}/examples:suggest", "label", "train", count=1),
    _head("ListFeedback", "GET /v1/{}/feedback", "train"),
    _head("ReleaseFeedback", "POST /v1/{}/feedback:release", "train", all=True),
    _failing(_head("PromoteLiveCopy", "POST /v1/{}:promote", "train")),
    _failing(_head("DropLiveCopy", "POST /v1/{}:drop", "train")),
    _failing(_head("TrainHead", "POST /v1/{}:train", "train")),
    _failing(
        _named("GetTraining", "GET /v1/{}", "train", name=TRAINING),
        "NOT_FOUND",
    ),
    _failing(
        _named("CancelTraining", "POST /v1/{}:cancel", "train", name=TRAINING),
        "NOT_FOUND",
    ),
    _failing(
        Rpc(
            "HeadService/ImportHead",
            "POST /v1/{}/heads:import",
            ("train",),
            "parent",
            TENANT,
            {"head_id": "fresh", "backbone": "minilm/l6-v2", "fingerprint": "f"},
        ),
        "FAILED_PRECONDITION",
    ),
    _named("ExportHead", "GET /v1/{}:export", "train"),
    _head("ListHeadVersions", "GET /v1/{}/versions"),
    _named("GetHeadVersion", "GET /v1/{}", name=VERSION),
    _named("ActivateHeadVersion", "POST /v1/{}:activate", "train", name=VERSION),
    _named("PinHeadVersion", "POST /v1/{}:pin", "train", name=VERSION, pinned=True),
    _failing(_named("DeleteHeadVersion", "DELETE /v1/{}", "train", name=VERSION)),
    _named("GetHeadReport", "GET /v1/{}/report", "label", "train", name=VERSION),
]

KEYS = [
    Rpc(
        "KeyService/CreateKey",
        "POST /v1/keys",
        ("own",),
        "tenant",
        TENANT,
        {"roles": ["ROLE_PREDICT"]},
    ),
    Rpc("KeyService/ListKeys", "GET /v1/keys", ("own",), "tenant", TENANT),
    Rpc("KeyService/GetKey", "GET /v1/{}", ("own",), "name", KEY),
    Rpc("KeyService/RotateKey", "POST /v1/{}:rotate", ("own",), "name", KEY),
    Rpc("KeyService/RevokeKey", "POST /v1/{}:revoke", ("own",), "name", KEY),
    Rpc("KeyService/WhoAmI", "GET /v1/whoami", ANYBODY),
]

TENANTS = [
    Rpc("TenantService/ListTenants", "GET /v1/tenants", (OPERATE,)),
    Rpc("TenantService/GetTenant", "GET /v1/{}", ("own",), "name", TENANT),
    Rpc(
        "TenantService/UpdateTenant",
        "POST /v1/{}:update",
        (OPERATE,),
        "name",
        TENANT,
        {"quotas": {"examples": 1_000_000}},
    ),
    Rpc("TenantService/GetUsage", "GET /v1/{}/usage", ("own",), "tenant", TENANT),
    Rpc("TenantService/DeleteTenant", "DELETE /v1/{}", (OPERATE,), "name", TENANT),
]

OTHERS = [
    Rpc("ExtractionService/Embed", "POST /v1/{}:embed", ("predict",), "tenant", TENANT, EMBEDS),
    Rpc("ExtractionService/ListBackbones", "GET /v1/backbones", ANYBODY),
    Rpc(
        "PredictionService/Classify",
        "POST /v1/{}:classify",
        ("predict",),
        "tenant",
        TENANT,
        {
            "examples": [
                {"input": {"text": "good"}, "label": "a"},
                {"input": {"text": "bad"}, "label": "b"},
            ],
            **EMBEDS,
        },
    ),
    Rpc("PredictionService/Predict", "POST /v1/{}:predict", ("predict",), "head", HEAD, EMBEDS),
    Rpc(
        "PredictionService/SendFeedback",
        "POST /v1/{}:feedback",
        ("feedback",),
        "head",
        HEAD,
        {"feedback": [{"input": {"text": "good"}, "label": "a"}]},
    ),
    Rpc(
        "AdviceService/Advise",
        "POST /v1/{}:advise",
        ("train",),
        "parent",
        TENANT,
        {"examples": [{"input": {"text": "one"}, "label": "a"}]},
        "INVALID_ARGUMENT",
    ),
    Rpc(
        "AdminService/LoadBackbone",
        "POST /v1/backbones:load",
        (OPERATE,),
        "",
        "",
        {"name": "no/such"},
        "INVALID_ARGUMENT",
    ),
    Rpc(
        "AdminService/UnloadBackbone",
        "POST /v1/backbones:unload",
        (OPERATE,),
        "",
        "",
        {"name": "no/such"},
        "FAILED_PRECONDITION",
    ),
    Rpc("AdminService/ListAudit", "GET /v1/audit", ("own",), "tenant", TENANT),
]

REVIEWS = [
    replace(rpc, method=rpc.method.replace("HeadService", "ReviewService"))
    for rpc in (
        _head("ListReviews", "POST /v1/{}/reviews:list", "label", "train"),
        _head(
            "Review",
            "POST /v1/{}/reviews:judge",
            "label",
            "train",
            judgements=[{"id": "none", "kind": "JUDGEMENT_KIND_SKIP"}],
        ),
        _head("GetServedAccuracy", "GET /v1/{}:servedAccuracy"),
    )
]

RPCS = [*HEADS, *REVIEWS, *KEYS, *TENANTS, *OTHERS]

OF_HEADS = [rpc for rpc in RPCS if rpc.of_head]
OF_TENANTS = [rpc for rpc in RPCS if rpc.name and not rpc.of_head and not rpc.of_key]
OF_ANY_TENANT = [rpc for rpc in OF_TENANTS if rpc.roles == (OPERATE,)]
OF_ONE_TENANT = [
    rpc
    for rpc in [*OF_TENANTS, *OF_HEADS]
    if rpc.method not in ("HeadService/ListHeads", "TenantService/GetUsage")
]
OF_KEYS = [rpc for rpc in RPCS if rpc.of_key]
WITH_ROLES = [rpc for rpc in RPCS if rpc.roles != ANYBODY]

OF_THE_EXTRACTOR: Mapping[str, Mapping[str, Any]] = {
    "ExtractionService/Embed": {"tenant": "tenants/acme", **EMBEDS},
    "ExtractionService/ListBackbones": {},
    "TailService/HoldTail": {"backbone": "minilm/l6-v2"},
    "TailService/EmbedWithTail": {"backbone": "minilm/l6-v2", "tail": "t", **EMBEDS},
    "TailService/ComputeActivations": {"backbone": "minilm/l6-v2", **EMBEDS},
    "TailService/WatchBackbones": {},
    "AdminService/LoadBackbone": {"name": "minilm/l6-v2"},
    "AdminService/UnloadBackbone": {"name": "no/such"},
    "AdminService/ListAudit": {},
}
"""What a server may ask of its extractor, by the key that they share."""
