"""Taking versions along: weights, an ONNX graph, and a card that says what they are."""

from __future__ import annotations

import asyncio

from sqlalchemy import Connection

import adapters
from service.calls import Call
from service.errors import PreconditionFailed
from service.messages import version_message
from service.model_card import model_card
from service.report_messages import report_message
from service.store import Database
from service.store import heads as stored_heads
from service.store.heads import HeadRecord, VersionRecord
from service.store.online import online_accuracy
from trunkline.resources import HeadName, VersionName
from trunkline.v1 import heads_pb2


class Exporting:
    """The use cases behind ``ExportHead`` and ``GetHeadReport``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def export(
        self, request: heads_pb2.ExportHeadRequest, call: Call
    ) -> heads_pb2.ExportHeadResponse:
        """A version's weights as a safetensors file that can be imported again, and its card."""
        name = VersionName(HeadName.parse(request.name, field="name"), request.version or None)
        head, version, weights = await self._database.read(_export, name)
        graph = await asyncio.to_thread(_to_onnx, weights) if request.onnx else b""
        return heads_pb2.ExportHeadResponse(
            version=version_message(head, version),
            safetensors=weights,
            onnx=graph,
            model_card=model_card(report_message(head, version), version),
        )

    async def get_report(
        self, request: heads_pb2.GetHeadReportRequest, call: Call
    ) -> heads_pb2.GetHeadReportResponse:
        """What is known about a version, and how the head has done on feedback."""
        report = await self._database.read(_report, VersionName.parse(request.name))
        return heads_pb2.GetHeadReportResponse(report=report)


def find_version(connection: Connection, name: VersionName) -> tuple[HeadRecord, VersionRecord]:
    """A head and one of its versions, the active one if the name says so.

    Raises:
        NotFound: no such head or version.
        PreconditionFailed: no version is active.
    """
    head = stored_heads.get_head(connection, name.parent.tenant, name.parent.head)
    wanted = name.version or head.active_version
    if not wanted:
        raise PreconditionFailed(
            f"head: {head.resource} has no active version; train it or activate one",
            field="head",
            value=head.resource,
        )
    return head, stored_heads.get_version(connection, head.uid, wanted)


def _export(connection: Connection, name: VersionName) -> tuple[HeadRecord, VersionRecord, bytes]:
    head, version = find_version(connection, name)
    return head, version, stored_heads.get_weights(connection, head.uid, version.version)


def _report(connection: Connection, name: VersionName) -> heads_pb2.HeadReport:
    head, version = find_version(connection, name)
    online = online_accuracy(connection, head.uid)
    return report_message(head, version, online)


def _to_onnx(weights: bytes) -> bytes:
    from service.onnx_export import to_onnx  # onnx takes long to import, and few want it

    return to_onnx(adapters.Head.from_safetensors(weights))
