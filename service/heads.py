"""The use cases around heads and their versions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

import adapters
from service.calls import Call
from service.completion import Completion
from service.config import ServerSettings
from service.errors import FingerprintMismatch, InvalidRequest
from service.exporting import find_version
from service.extraction import BackboneInfo, Extractor
from service.labelled_rows import check_label
from service.live import LiveCopies, Policy
from service.live_messages import live_message, read_policy
from service.loaded_heads import LoadedHeads
from service.messages import (
    head_message,
    page_size,
    read_page_token,
    read_spec,
    version_message,
    write_page_token,
)
from service.store import Database
from service.store import heads as stored_heads
from service.store import jobs as stored_jobs
from service.store.heads import HeadCounts, HeadRecord, VersionRecord
from service.training import Training
from trunkline.resources import MAX_VERSION, HeadName, TenantName, VersionName, check_id
from trunkline.v1 import heads_pb2


class Heads:
    """Making, showing and deleting heads; importing, exporting and activating versions."""

    def __init__(
        self,
        database: Database,
        extractor: Extractor,
        loaded: LoadedHeads,
        live: LiveCopies,
        training: Training,
        completion: Completion,
        settings: ServerSettings,
    ) -> None:
        self._completion = completion
        self._database = database
        self._extractor = extractor
        self._loaded = loaded
        self._live = live
        self._training = training
        self._settings = settings

    async def create(
        self, request: heads_pb2.CreateHeadRequest, call: Call
    ) -> heads_pb2.CreateHeadResponse:
        """Makes a head without versions, bound to a loaded backbone."""
        name = _new_name(request.parent, request.head_id)
        spec = read_spec(request.spec)
        policy = read_policy(request.policy)
        backbone = self._extractor.backbone(request.backbone)
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
        )
        return heads_pb2.CreateHeadResponse(head=head_message(head, HeadCounts(0, 0, 0), (), None))

    async def get(self, request: heads_pb2.GetHeadRequest, call: Call) -> heads_pb2.GetHeadResponse:
        """A head as it stands, its live copy included."""
        name = HeadName.parse(request.name, field="name")
        return heads_pb2.GetHeadResponse(head=await self._with_live(name))

    async def update(
        self, request: heads_pb2.UpdateHeadRequest, call: Call
    ) -> heads_pb2.UpdateHeadResponse:
        """Changes what the request names; the policy from the reply on."""
        name = HeadName.parse(request.name, field="name")
        policy = read_policy(request.policy) if request.HasField("policy") else None
        spec = read_spec(request.spec) if request.HasField("spec") else None
        allow = request.allow_new_labels if request.HasField("allow_new_labels") else None
        await self._completion.run(self._update(name, policy, allow, spec))
        return heads_pb2.UpdateHeadResponse(head=await self._with_live(name))

    async def promote(
        self, request: heads_pb2.PromoteLiveCopyRequest, call: Call
    ) -> heads_pb2.PromoteLiveCopyResponse:
        """Makes a version of the live copy; predictions use it from the reply on."""
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        version = await self._live.promote(head)
        head, made = await self._database.read(find_version, VersionName(name, version))
        return heads_pb2.PromoteLiveCopyResponse(
            head=await self._database.read(_describe, name), version=version_message(head, made)
        )

    async def drop(
        self, request: heads_pb2.DropLiveCopyRequest, call: Call
    ) -> heads_pb2.DropLiveCopyResponse:
        """Drops the live copy and puts the feedback behind it in quarantine."""
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        quarantined = await self._live.drop(head)
        return heads_pb2.DropLiveCopyResponse(
            head=await self._database.read(_describe, name), quarantined=quarantined
        )

    async def list_page(
        self, request: heads_pb2.ListHeadsRequest, call: Call
    ) -> heads_pb2.ListHeadsResponse:
        """A page of a tenant's heads, by name."""
        tenant = TenantName.parse(request.parent, field="parent").tenant
        size = page_size(request.page_size)
        after = read_page_token(request.page_token, str)
        found = await self._database.read(_list, tenant, after, size + 1)
        page = found[:size]
        last = page[-1].name.rsplit("/", 1)[1] if len(found) > size else ""
        return heads_pb2.ListHeadsResponse(
            heads=page, next_page_token=write_page_token(last) if last else ""
        )

    async def delete(
        self, request: heads_pb2.DeleteHeadRequest, call: Call
    ) -> heads_pb2.DeleteHeadResponse:
        """Deletes a head with all that is its own; a training of it stops."""
        await self._completion.run(self._delete(HeadName.parse(request.name, field="name")))
        return heads_pb2.DeleteHeadResponse()

    async def import_version(
        self, request: heads_pb2.ImportHeadRequest, call: Call
    ) -> heads_pb2.ImportHeadResponse:
        """Makes a version from weights trained elsewhere, and the head if it is new."""
        name = _new_name(request.parent, request.head_id)
        backbone = self._extractor.backbone(request.backbone)
        head = await asyncio.to_thread(self._read_weights, request, backbone)
        activate = request.activate if request.HasField("activate") else True
        record, version = await self._completion.run(self._import(name, backbone, head, activate))
        return heads_pb2.ImportHeadResponse(
            head=await self._database.read(_describe, name),
            version=version_message(record, version),
        )

    async def list_versions(
        self, request: heads_pb2.ListHeadVersionsRequest, call: Call
    ) -> heads_pb2.ListHeadVersionsResponse:
        """A page of a head's versions, newest first."""
        name = HeadName.parse(request.head)
        size = page_size(request.page_size)
        before = read_page_token(request.page_token, int) or MAX_VERSION
        head, found = await self._database.read(_list_versions, name, before, size + 1)
        page = found[:size]
        return heads_pb2.ListHeadVersionsResponse(
            versions=[version_message(head, version) for version in page],
            next_page_token=write_page_token(page[-1].version) if len(found) > size else "",
        )

    async def get_version(
        self, request: heads_pb2.GetHeadVersionRequest, call: Call
    ) -> heads_pb2.GetHeadVersionResponse:
        """A version without its weights."""
        head, version = await self._database.read(find_version, VersionName.parse(request.name))
        return heads_pb2.GetHeadVersionResponse(version=version_message(head, version))

    async def activate(
        self, request: heads_pb2.ActivateHeadVersionRequest, call: Call
    ) -> heads_pb2.ActivateHeadVersionResponse:
        """Makes a version the active one; predictions use it from the reply on."""
        name = VersionName.parse(request.name)
        await self._completion.run(self._activate(name))
        return heads_pb2.ActivateHeadVersionResponse(
            head=await self._database.read(_describe, name.parent)
        )

    async def _delete(self, name: HeadName) -> None:
        head = await self._database.write(stored_heads.delete_head, name.tenant, name.head)
        self._loaded.forget(head.resource)
        self._live.outdate(head.uid)
        await self._training.stop(head.uid)

    async def _import(
        self, name: HeadName, backbone: BackboneInfo, head: adapters.Head, activate: bool
    ) -> tuple[HeadRecord, VersionRecord]:
        stored = await self._database.write(_import, name, backbone, head, activate=activate)
        self._loaded.forget(str(name))
        self._live.outdate(stored[0].uid)
        return stored

    async def _activate(self, name: VersionName) -> None:
        head = await self._database.write(_activate, name)
        self._loaded.forget(head.resource)
        self._live.outdate(head.uid)

    async def _update(
        self,
        name: HeadName,
        policy: Policy | None,
        allow_new_labels: bool | None,
        spec: adapters.HeadSpec | None,
    ) -> None:
        head = await self._database.write(_update, name, policy, allow_new_labels, spec)
        self._loaded.forget(head.resource)
        self._live.outdate(head.uid)

    async def _with_live(self, name: HeadName) -> heads_pb2.Head:
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        status = await self._live.status(head)
        described = await self._database.read(_describe, name)
        described.live.CopyFrom(live_message(status))
        return described

    def _read_weights(
        self, request: heads_pb2.ImportHeadRequest, backbone: BackboneInfo
    ) -> adapters.Head:
        if request.fingerprint != backbone.fingerprint:
            raise FingerprintMismatch(
                f"fingerprint: must be that of {backbone.name}, {backbone.fingerprint}, "
                f"is {request.fingerprint[:64]!r}",
                field="fingerprint",
                limit=backbone.fingerprint,
                value=request.fingerprint,
            )
        head = adapters.Head.from_safetensors(
            request.safetensors,
            labels=request.labels or None,
            fingerprint=backbone.fingerprint,
            dim=backbone.dim,
        )
        self._check_labels(head.labels)
        return head

    def _check_labels(self, labels: Sequence[str]) -> None:
        if len(labels) > self._settings.max_classes:
            raise InvalidRequest(
                f"classes: at most {self._settings.max_classes}, has {len(labels)}",
                field="classes",
                limit=self._settings.max_classes,
                value=len(labels),
            )
        for label in labels:
            check_label(label, self._settings.max_label_bytes)


def _new_name(parent: str, head_id: str) -> HeadName:
    return TenantName.parse(parent, field="parent").head(check_id(head_id, field="head_id"))


def _describe(connection: Connection, name: HeadName) -> heads_pb2.Head:
    head = stored_heads.get_head(connection, name.tenant, name.head)
    return _message(connection, head, stored_heads.count(connection, head.uid))


def _update(
    connection: Connection,
    name: HeadName,
    policy: Policy | None,
    allow_new_labels: bool | None,
    spec: adapters.HeadSpec | None,
) -> HeadRecord:
    head = stored_heads.get_head(connection, name.tenant, name.head)
    return stored_heads.update_head(
        connection,
        head.uid,
        policy=policy,
        allow_new_labels=allow_new_labels,
        spec=None if spec is None else spec.to_json(),
    )


def _list(connection: Connection, tenant: str, after: str, limit: int) -> list[heads_pb2.Head]:
    return [
        _message(connection, head, counts)
        for head, counts in stored_heads.list_heads(connection, tenant, after, limit)
    ]


def _message(connection: Connection, head: HeadRecord, counts: HeadCounts) -> heads_pb2.Head:
    labels: tuple[str, ...] = ()
    if head.active_version:
        labels = stored_heads.get_version(connection, head.uid, head.active_version).labels
    return head_message(head, counts, labels, stored_jobs.unfinished_job(connection, head.uid))


def _import(
    connection: Connection,
    name: HeadName,
    backbone: BackboneInfo,
    head: adapters.Head,
    *,
    activate: bool,
) -> tuple[HeadRecord, VersionRecord]:
    record = stored_heads.find_head(connection, name.tenant, name.head)
    if record is None:
        record = stored_heads.create_head(
            connection,
            tenant=name.tenant,
            name=name.head,
            backbone=backbone.name,
            fingerprint=backbone.fingerprint,
            spec=adapters.HeadSpec().to_json(),
            keep_inputs=False,
        )
    if (record.backbone, record.fingerprint) != (backbone.name, backbone.fingerprint):
        raise FingerprintMismatch(
            f"head: {record.resource} is bound to {record.backbone} with fingerprint "
            f"{record.fingerprint}, not to {backbone.name} with {backbone.fingerprint}",
            field="backbone",
            limit=record.backbone,
            value=backbone.name,
        )
    number = stored_heads.add_version(
        connection,
        record.uid,
        source="import",
        labels=head.labels,
        report=_import_report(head),
        example_count=0,
        safetensors=head.to_safetensors(),
        activate=activate,
    )
    record = stored_heads.require_head(connection, record.uid)
    return record, stored_heads.get_version(connection, record.uid, number)


def _import_report(head: adapters.Head) -> dict[str, Any]:
    return adapters.Report(
        family=head.family,
        spec=adapters.HeadSpec(),
        fingerprint=head.fingerprint,
        example_count=0,
        classes=tuple(adapters.ClassReport(label, 0) for label in head.labels),
        estimate=None,
        l2=head.l2,
        temperature=head.temperature,
        candidates=(),
    ).to_json()


def _list_versions(
    connection: Connection, name: HeadName, before: int, limit: int
) -> tuple[HeadRecord, list[VersionRecord]]:
    head = stored_heads.get_head(connection, name.tenant, name.head)
    return head, stored_heads.list_versions(connection, head.uid, before, limit)


def _activate(connection: Connection, name: VersionName) -> HeadRecord:
    head, version = find_version(connection, name)
    stored_heads.activate_version(connection, head.uid, version.version)
    return head
