"""The RPCs on heads: create, get, update, list and delete, and ``DropLiveCopy``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

import adapters
from service.access.caller import Caller
from service.capture.rules import CaptureRules, read_capture
from service.concurrency.tasks import UninterruptedTasks
from service.embedding.image_views import check_only_of_images
from service.errors import InvalidRequest
from service.extraction import Extractor
from service.live import LiveCopies, Policy
from service.replies.heads import head_message, texts_of
from service.replies.live import live_message, read_policy
from service.requests.call import Call
from service.requests.paging import PageTokens, page_size
from service.requests.specs import read_decide, read_spec
from service.store import Database
from service.store import heads as stored_heads
from service.store.descriptions import description_inputs
from service.store.head_records import HeadCounts, HeadRecord
from service.store.head_summaries import HeadSummary, get_summary, list_summaries
from service.training.jobs import TrainingJobs
from trunkline.resources import ALL_TENANTS, HeadName, TenantName, check_id
from trunkline.v1 import heads_pb2


@dataclass(eq=False)
class Heads:
    """Creates, shows, changes and deletes heads, and drops their live copies."""

    _database: Database
    _extractor: Extractor
    _live: LiveCopies
    _jobs: TrainingJobs
    _tasks: UninterruptedTasks
    _tokens: PageTokens

    async def create_head(
        self, request: heads_pb2.CreateHeadRequest, call: Call
    ) -> heads_pb2.CreateHeadResponse:
        """Creates a head without versions, bound to a loaded backbone."""
        name = new_name(request.parent, request.head_id, call.caller)
        spec = read_spec(request.spec)
        policy = read_policy(request.policy)
        decide = read_decide(request.decide) if request.HasField("decide") else None
        capture = read_capture(request.capture) if _captures(request) else None
        _check_novelty(capture, spec)
        backbone = self._extractor.backbone(request.backbone)
        check_only_of_images("spec.average_views", spec.average_views, backbone.modality)
        head = await self._database.write(
            stored_heads.create_head,
            tenant=name.tenant,
            name=name.head,
            backbone=backbone.name,
            fingerprint=backbone.fingerprint,
            spec=spec.to_json(),
            keep_inputs=request.keep_inputs,
            policy=policy,
            allow_new_labels=request.allow_new_labels,
            decide=decide,
            capture=None if capture is None else capture.to_json(),
            by_tenant=call.caller.tenant is not None,
        )
        return heads_pb2.CreateHeadResponse(
            head=head_message(HeadSummary(head, HeadCounts(0, 0, 0)))
        )

    async def get_head(
        self, request: heads_pb2.GetHeadRequest, call: Call
    ) -> heads_pb2.GetHeadResponse:
        """Returns a head as it stands, its live copy included."""
        name = HeadName.parse(request.name, field="name")
        return heads_pb2.GetHeadResponse(head=await self._with_live(name))

    async def update_head(
        self, request: heads_pb2.UpdateHeadRequest, call: Call
    ) -> heads_pb2.UpdateHeadResponse:
        """Changes what the request names; the policy from the reply on."""
        name = HeadName.parse(request.name, field="name")
        policy = read_policy(request.policy) if request.HasField("policy") else None
        spec = read_spec(request.spec) if request.HasField("spec") else None
        if spec is not None and spec.average_views:
            await self._check_views_of(name, spec)
        keep_views = not request.spec.HasField("average_views")
        allow = request.allow_new_labels if request.HasField("allow_new_labels") else None
        decide = _changed_decide(request)
        capture = read_capture(request.capture) if _captures(request) else None
        rules = {} if capture is None else capture.to_json()
        stored = rules if request.HasField("capture") else None
        await self._database.write(_update, name, policy, allow, spec, keep_views, decide, stored)
        return heads_pb2.UpdateHeadResponse(head=await self._with_live(name))

    async def drop_live_copy(
        self, request: heads_pb2.DropLiveCopyRequest, call: Call
    ) -> heads_pb2.DropLiveCopyResponse:
        """Drops the live copy and puts the feedback behind it in quarantine."""
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        quarantined = await self._live.drop(head)
        return heads_pb2.DropLiveCopyResponse(
            head=await self._database.read(describe, name), quarantined=quarantined
        )

    async def list_heads(
        self, request: heads_pb2.ListHeadsRequest, call: Call
    ) -> heads_pb2.ListHeadsResponse:
        """Returns a page of the heads that the caller may see, by tenant and name."""
        every = request.parent == ALL_TENANTS
        parent = None if every else TenantName.parse(request.parent, field="parent").tenant
        tenant = parent or call.caller.tenant
        size = page_size(request.page_size)
        listed = f"heads/{tenant or '-'}"
        after = self._tokens.read(listed, request.page_token, str)
        found = await self._database.read(_list, tenant, after, size + 1, call.caller.heads)
        page = found[:size]
        last = HeadName.parse(page[-1].name).short if len(found) > size else ""
        return heads_pb2.ListHeadsResponse(
            heads=page, next_page_token=self._tokens.write(listed, last) if last else ""
        )

    async def delete_head(
        self, request: heads_pb2.DeleteHeadRequest, call: Call
    ) -> heads_pb2.DeleteHeadResponse:
        """Deletes a head with all that is its own; a training of it stops."""
        await self._tasks.run(self._delete(HeadName.parse(request.name, field="name")))
        return heads_pb2.DeleteHeadResponse()

    async def _delete(self, name: HeadName) -> None:
        head = await self._database.write(stored_heads.delete_head, name.tenant, name.head)
        await self._jobs.forget_head(head.uid)

    async def _check_views_of(self, name: HeadName, spec: adapters.HeadSpec) -> None:
        """Refuses views for a head of texts, as far as its backbone is loaded."""
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        for backbone in self._extractor.backbones():
            if backbone.name == head.backbone:
                check_only_of_images("spec.average_views", spec.average_views, backbone.modality)

    async def _with_live(self, name: HeadName) -> heads_pb2.Head:
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        status = await self._live.status(head)
        described = await self._database.read(describe, name)
        described.live.CopyFrom(live_message(status))
        described.label_descriptions.update(
            texts_of(await self._database.read(description_inputs, head.uid))
        )
        return described


def new_name(parent: str, head_id: str, caller: Caller) -> HeadName:
    """Returns the name of a head to be created.

    Raises:
        InvalidName: a part of it is malformed.
        NotFound: the caller's key is not good for a head of this name.
    """
    name = TenantName.parse(parent, field="parent").head(check_id(head_id, field="head_id"))
    caller.check_head(name)
    return name


def describe(connection: Connection, name: HeadName) -> heads_pb2.Head:
    """Describes a head as it stands, but for its live copy.

    Raises:
        NotFound: there is none of this name.
    """
    return head_message(get_summary(connection, name.tenant, name.head))


def _update(
    connection: Connection,
    name: HeadName,
    policy: Policy | None,
    allow_new_labels: bool | None,
    spec: adapters.HeadSpec | None,
    keep_views: bool,
    decide: dict[str, float] | None = None,
    capture: dict[str, Any] | None = None,
) -> HeadRecord:
    head = stored_heads.get_head(connection, name.tenant, name.head)
    if spec is not None and keep_views:
        spec = replace(spec, average_views=adapters.HeadSpec.from_json(head.spec).average_views)
    if capture:
        rules = CaptureRules.from_json(capture)
        _check_novelty(rules, spec or adapters.HeadSpec.from_json(head.spec))
    return stored_heads.update_head(
        connection,
        head.uid,
        policy=policy,
        allow_new_labels=allow_new_labels,
        spec=None if spec is None else spec.to_json(),
        decide=decide,
        capture=capture,
    )


def _changed_decide(request: heads_pb2.UpdateHeadRequest) -> dict[str, float] | None:
    """Returns the rule that a request names; an empty one takes it away, None leaves it."""
    if not request.HasField("decide"):
        return None
    return read_decide(request.decide) if request.decide.precision else {}


def _captures(request: heads_pb2.CreateHeadRequest | heads_pb2.UpdateHeadRequest) -> bool:
    """Returns whether a request says what is to be captured."""
    return request.HasField("capture") and not request.capture.off


def _check_novelty(capture: CaptureRules | None, spec: adapters.HeadSpec) -> None:
    if capture is not None and capture.novel_share and spec.novelty is None:
        raise InvalidRequest.at(
            "capture.novel_share",
            "must be {limit}, is {value}: the head does not look for novelty, as its spec says",
            0,
            capture.novel_share,
        )


def _list(
    connection: Connection, tenant: str | None, after: str, limit: int, visible: Sequence[str]
) -> list[heads_pb2.Head]:
    return [head_message(row) for row in list_summaries(connection, tenant, after, limit, visible)]
