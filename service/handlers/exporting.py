"""The RPCs ``ExportHead`` and ``GetHeadReport``."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy import Connection

import adapters
from service.errors import LimitExceeded, PreconditionFailed
from service.replies.heads import version_message
from service.replies.model_card import model_card
from service.replies.reports import examples_named, report_message
from service.requests.call import Call
from service.store import Database
from service.store import heads as stored_heads
from service.store import tails as stored_tails
from service.store import versions as stored_versions
from service.store.external_ids import find_external_ids
from service.store.head_records import HeadRecord
from service.store.online_accuracy import online_accuracy
from service.store.versions import VersionRecord
from trunkline.resources import HeadName, VersionName
from trunkline.v1 import heads_pb2

CARD_BYTES = 1024 * 1024
"""Left free in a message for the model card; a generous guess."""


@dataclass(eq=False)
class Exporting:
    """Exports versions (weights, an ONNX graph, a model card) and their reports."""

    _database: Database
    _max_message_bytes: int

    async def export_head(
        self, request: heads_pb2.ExportHeadRequest, call: Call
    ) -> heads_pb2.ExportHeadResponse:
        """Returns the head's and the tail's safetensors files of a version, and its card."""
        name = VersionName(HeadName.parse(request.name, field="name"), request.version or None)
        head, version, weights, tail = await self._database.read(_export, name)
        graph = await asyncio.to_thread(_to_onnx, weights) if request.onnx else b""
        size = len(weights) + len(graph) + len(tail) + CARD_BYTES
        if size > self._max_message_bytes:
            raise LimitExceeded(
                f"export: at most {self._max_message_bytes} bytes in a message, takes {size}; "
                "let the server send larger ones (max_message_bytes)",
                field="max_message_bytes",
                limit=self._max_message_bytes,
                value=size,
            )
        return heads_pb2.ExportHeadResponse(
            version=version_message(head, version),
            safetensors=weights,
            onnx=graph,
            model_card=model_card(
                report_message(head.resource, version, rule=head.decide), version
            ),
            tail=tail,
        )

    async def get_head_report(
        self, request: heads_pb2.GetHeadReportRequest, call: Call
    ) -> heads_pb2.GetHeadReportResponse:
        """Reports what is known about a version, and how the head has done on feedback."""
        report = await self._database.read(_report, VersionName.parse(request.name))
        return heads_pb2.GetHeadReportResponse(report=report)


def find_version(connection: Connection, name: VersionName) -> tuple[HeadRecord, VersionRecord]:
    """Returns a head and one of its versions, the active one if the name says so.

    Raises:
        NotFound: no such head or version.
        PreconditionFailed: no version is active.
    """
    head = stored_heads.get_head(connection, name.parent.tenant, name.parent.head)
    wanted = name.version or head.active_version
    if not wanted:
        raise PreconditionFailed.at(
            "head", "{value} has no active version; train it or activate one", value=head.resource
        )
    return head, stored_versions.get_version(connection, head.uid, wanted)


def _export(
    connection: Connection, name: VersionName
) -> tuple[HeadRecord, VersionRecord, bytes, bytes]:
    """Returns a version with its weights and those of its tail; empty for none."""
    head, version = find_version(connection, name)
    weights, tail = stored_versions.get_weights(connection, head.uid, version.version), b""
    if version.tail is not None:
        tail = stored_tails.get_tail(connection, head.uid, version.tail.fingerprint)
    return head, version, weights, tail


def _report(connection: Connection, name: VersionName) -> heads_pb2.HeadReport:
    head, version = find_version(connection, name)
    online = online_accuracy(connection, head.uid)
    names = find_external_ids(connection, head.uid, examples_named(version.report))
    return report_message(head.resource, version, online, names, head.decide)


def _to_onnx(weights: bytes) -> bytes:
    from adapters.onnx_export import to_onnx  # onnx takes long to import, and few want it

    return to_onnx(adapters.Head.from_safetensors(weights))
