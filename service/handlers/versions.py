"""The RPCs on a head's versions: import, list, get and activate, and ``PromoteLiveCopy``."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection

import adapters
from service.config import ServerSettings
from service.embedding.head_backbones import current_backbone
from service.errors import FingerprintMismatch, InvalidRequest
from service.extraction import BackboneInfo, Extractor
from service.handlers.exporting import find_version
from service.handlers.heads import describe, new_name
from service.live import LiveCopies
from service.replies.heads import version_message
from service.requests.call import Call
from service.requests.fields import check_family, check_label, normalised_labels
from service.requests.paging import PageTokens, page_size
from service.store import Database
from service.store import heads as stored_heads
from service.store import versions as stored_versions
from service.store.head_records import HeadRecord
from service.store.tenants import within_quotas
from service.store.version_bounds import delete_version, pin_version, remove_oldest
from service.store.versions import VersionRecord
from trunkline.resources import MAX_VERSION, HeadName, VersionName
from trunkline.v1 import heads_pb2


@dataclass(eq=False)
class HeadVersions:
    """Imports, lists and activates versions, and promotes live copies."""

    _database: Database
    _extractor: Extractor
    _live: LiveCopies
    _settings: ServerSettings
    _tokens: PageTokens

    async def promote_live_copy(
        self, request: heads_pb2.PromoteLiveCopyRequest, call: Call
    ) -> heads_pb2.PromoteLiveCopyResponse:
        """Makes a version of the live copy; predictions use it from the reply on."""
        name = HeadName.parse(request.head)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        current_backbone(self._extractor, head)
        version, removed = await self._live.promote(head)
        head, made = await self._database.read(find_version, VersionName(name, version))
        return heads_pb2.PromoteLiveCopyResponse(
            head=await self._database.read(describe, name),
            version=version_message(head, made),
            removed_versions=removed,
        )

    async def import_head(
        self, request: heads_pb2.ImportHeadRequest, call: Call
    ) -> heads_pb2.ImportHeadResponse:
        """Makes a version from weights trained elsewhere, and the head if it is new."""
        name = new_name(request.parent, request.head_id, call.caller)
        backbone = self._extractor.backbone(request.backbone)
        head = await asyncio.to_thread(self._read_weights, request, backbone)
        activate = request.activate if request.HasField("activate") else True
        record, version, removed = await self._database.write(
            _import,
            name,
            backbone,
            head,
            activate=activate,
            max_versions=self._settings.max_versions_per_head,
            by_tenant=call.caller.tenant is not None,
        )
        return heads_pb2.ImportHeadResponse(
            head=await self._database.read(describe, name),
            version=version_message(record, version),
            removed_versions=removed,
        )

    async def list_head_versions(
        self, request: heads_pb2.ListHeadVersionsRequest, call: Call
    ) -> heads_pb2.ListHeadVersionsResponse:
        """Returns a page of a head's versions, newest first."""
        name = HeadName.parse(request.head)
        size = page_size(request.page_size)
        head = await self._database.read(stored_heads.get_head, name.tenant, name.head)
        listed = f"versions/{head.uid}"
        before = self._tokens.read(listed, request.page_token, int) or MAX_VERSION
        found = await self._database.read(stored_versions.list_versions, head.uid, before, size + 1)
        page = found[:size]
        return heads_pb2.ListHeadVersionsResponse(
            versions=[version_message(head, version) for version in page],
            next_page_token=self._tokens.write(listed, page[-1].version)
            if len(found) > size
            else "",
        )

    async def get_head_version(
        self, request: heads_pb2.GetHeadVersionRequest, call: Call
    ) -> heads_pb2.GetHeadVersionResponse:
        """Returns a version without its weights."""
        head, version = await self._database.read(find_version, VersionName.parse(request.name))
        return heads_pb2.GetHeadVersionResponse(version=version_message(head, version))

    async def activate_head_version(
        self, request: heads_pb2.ActivateHeadVersionRequest, call: Call
    ) -> heads_pb2.ActivateHeadVersionResponse:
        """Makes a version the active one; predictions use it from the reply on."""
        name = VersionName.parse(request.name)
        head = await self._database.read(
            stored_heads.get_head, name.parent.tenant, name.parent.head
        )
        current_backbone(self._extractor, head)
        before, after = await self._database.write(_activate, name)
        return heads_pb2.ActivateHeadVersionResponse(
            head=await self._database.read(describe, name.parent),
            labels_lost=[label for label in before if label not in after],
            labels_gained=[label for label in after if label not in before],
        )

    async def pin_head_version(
        self, request: heads_pb2.PinHeadVersionRequest, call: Call
    ) -> heads_pb2.PinHeadVersionResponse:
        """Keeps a version from being deleted, or lets go of it."""
        name = VersionName.parse(request.name)
        pinned = request.pinned if request.HasField("pinned") else True
        head, version = await self._database.write(
            _pin, name, pinned=pinned, max_versions=self._settings.max_versions_per_head
        )
        return heads_pb2.PinHeadVersionResponse(version=version_message(head, version))

    async def delete_head_version(
        self, request: heads_pb2.DeleteHeadVersionRequest, call: Call
    ) -> heads_pb2.DeleteHeadVersionResponse:
        """Deletes a version, unless it is active or pinned."""
        await self._database.write(_delete_version, VersionName.parse(request.name))
        return heads_pb2.DeleteHeadVersionResponse()

    def _read_weights(
        self, request: heads_pb2.ImportHeadRequest, backbone: BackboneInfo
    ) -> adapters.Head:
        if request.fingerprint != backbone.fingerprint:
            raise _foreign(backbone, request.fingerprint)
        try:
            head = adapters.Head.from_safetensors(
                request.safetensors,
                labels=request.labels or None,
                fingerprint=backbone.fingerprint,
                dim=backbone.dim,
            )
        except adapters.InvalidWeights as error:
            if error.field != "fingerprint":
                raise
            raise _foreign(backbone, str(error.value)) from error
        return self._with_checked_labels(head)

    def _with_checked_labels(self, head: adapters.Head) -> adapters.Head:
        """Returns the head with its labels, given or in the file, in their normal form."""
        labels = head.labels
        if len(labels) > self._settings.max_classes:
            raise InvalidRequest.at(
                "classes", "at most {limit}, has {value}", self._settings.max_classes, len(labels)
            )
        check_family(head.family)
        checked = [check_label(label, self._settings.max_label_bytes) for label in labels]
        normalised_labels(labels, "labels")
        forms = normalised_labels(head.class_weights, "class_weights")
        weights = {forms[label]: weight for label, weight in head.class_weights.items()}
        return replace(head, labels=tuple(checked), class_weights=weights)


def _foreign(backbone: BackboneInfo, fingerprint: str) -> FingerprintMismatch:
    return FingerprintMismatch(
        f"fingerprint: must be that of {backbone.name}, {backbone.fingerprint}, is "
        f"{fingerprint[:64]!r}; a head that runs on a fine-tuned tail cannot be imported",
        field="fingerprint",
        limit=backbone.fingerprint,
        value=fingerprint,
    )


def _import(
    connection: Connection,
    name: HeadName,
    backbone: BackboneInfo,
    head: adapters.Head,
    *,
    activate: bool,
    max_versions: int | None,
    by_tenant: bool = False,
) -> tuple[HeadRecord, VersionRecord, tuple[int, ...]]:
    """Stores a version, and the head if it is new; returns both, and which had to go for it."""
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
            by_tenant=by_tenant,
        )
    if (record.backbone, record.fingerprint) != (backbone.name, backbone.fingerprint):
        raise FingerprintMismatch(
            f"head: {record.resource} is bound to {record.backbone} with fingerprint "
            f"{record.fingerprint}, not to {backbone.name} with {backbone.fingerprint}",
            field="backbone",
            limit=record.backbone,
            value=backbone.name,
        )
    with within_quotas(connection, record.tenant_id):
        number = stored_versions.add_version(
            connection,
            record.uid,
            source="import",
            labels=head.labels,
            report=_import_report(head),
            example_count=0,
            safetensors=head.to_safetensors(),
            activate=activate,
        )
        removed = remove_oldest(connection, record.uid, number, max_versions)
    record = stored_heads.require_head(connection, record.uid)
    return record, stored_versions.get_version(connection, record.uid, number), removed


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


def _activate(connection: Connection, name: VersionName) -> tuple[Sequence[str], Sequence[str]]:
    """Activates a version; returns the labels of answers before and from now on."""
    head, version = find_version(connection, name)
    before: Sequence[str] = ()
    if head.active_version:
        before = stored_versions.get_version(connection, head.uid, head.active_version).labels
    stored_versions.activate_version(connection, head.uid, version.version)
    return before, version.labels


def _pin(
    connection: Connection, name: VersionName, *, pinned: bool, max_versions: int | None
) -> tuple[HeadRecord, VersionRecord]:
    head, version = find_version(connection, name)
    changed = pin_version(connection, head, version.version, pinned=pinned, most=max_versions)
    return head, changed


def _delete_version(connection: Connection, name: VersionName) -> None:
    head, version = find_version(connection, name)
    delete_version(connection, head, version.version)
