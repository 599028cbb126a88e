"""Versions of heads, and their reports."""

from collections.abc import AsyncIterator, Sequence

from trunkline.clients.asynchronous.backbones import AsyncBackbones
from trunkline.replies import heads as replies
from trunkline.replies import reports as report_replies
from trunkline.v1 import heads_pb2
from trunkline.values.heads import Export, Head, ImportedVersion, Version
from trunkline.values.reports import Report
from trunkline.values.sequences import file_bytes, strings_in
from trunkline.wire.building import build
from trunkline.wire.names import head_name, version_name
from trunkline.wire.reading import read
from trunkline.wire.weights import metadata


class AsyncVersions(AsyncBackbones):
    """The calls about versions."""

    async def import_head(
        self,
        head: str,
        safetensors: bytes,
        backbone: str,
        *,
        fingerprint: str | None = None,
        labels: Sequence[str] = (),
        activate: bool = True,
        timeout: float | None = None,
    ) -> ImportedVersion:
        """Makes a version from weights trained elsewhere, and the head if there is none.

        `safetensors` is a file with "weight" [classes, dim] and "bias" [classes]; labels may be in
        its metadata, and so may the fingerprint, which else is taken from the loaded backbone.
        """
        labels = strings_in(labels, "labels")
        safetensors = file_bytes(safetensors, "safetensors")
        bound = fingerprint or metadata(safetensors).get("fingerprint", "")
        if not bound:
            loaded = await self.backbones(timeout=timeout)
            bound = next((row.fingerprint for row in loaded if row.name == backbone), "")
        name = head_name(head)
        request = build(
            heads_pb2.ImportHeadRequest,
            parent=str(name.parent),
            head_id=name.head,
            backbone=backbone,
            fingerprint=bound,
            safetensors=safetensors,
            labels=labels,
            activate=activate,
        )
        reply = await self._call(self._heads.ImportHead, request, timeout, idempotent=False)
        return replies.imported(reply)

    async def export_head(
        self,
        head: str,
        version: int | None = None,
        *,
        onnx: bool = False,
        timeout: float | None = None,
    ) -> Export:
        """Returns a version (by default the active one) with weights, and as ONNX if asked for."""
        request = build(
            heads_pb2.ExportHeadRequest, name=str(head_name(head)), version=version or 0, onnx=onnx
        )
        reply = await self._call(self._heads.ExportHead, request, timeout)
        return read(Export, reply, version=replies.version(reply.version))

    async def get_version(
        self, head: str, version: int | None = None, *, timeout: float | None = None
    ) -> Version:
        """Returns a version (the active one by default)."""
        request = build(heads_pb2.GetHeadVersionRequest, name=str(version_name(head, version)))
        reply = await self._call(self._heads.GetHeadVersion, request, timeout)
        return replies.version(reply.version)

    async def versions(self, head: str, *, timeout: float | None = None) -> AsyncIterator[Version]:
        """Lists all versions, newest first, fetched page by page."""
        request = build(heads_pb2.ListHeadVersionsRequest, head=str(head_name(head)))
        async for page in self._pages(self._heads.ListHeadVersions, request, timeout):
            for row in page.versions:
                yield replies.version(row)

    async def activate(self, head: str, version: int, *, timeout: float | None = None) -> Head:
        """Makes a version the one that answers."""
        request = build(heads_pb2.ActivateHeadVersionRequest, name=str(version_name(head, version)))
        reply = await self._call(self._heads.ActivateHeadVersion, request, timeout)
        return replies.head(reply.head)

    async def pin_version(
        self, head: str, version: int, *, pinned: bool = True, timeout: float | None = None
    ) -> Version:
        """Keeps a version from being deleted, or lets go of it."""
        name = str(version_name(head, version))
        request = build(heads_pb2.PinHeadVersionRequest, name=name, pinned=pinned)
        reply = await self._call(self._heads.PinHeadVersion, request, timeout)
        return replies.version(reply.version)

    async def delete_version(
        self, head: str, version: int, *, timeout: float | None = None
    ) -> None:
        """Deletes a version, with its tail unless another runs on it.

        Raises `FailedPrecondition` for the active one, from which the live copy moves on, and for
        a pinned one.
        """
        name = str(version_name(head, version))
        request = build(heads_pb2.DeleteHeadVersionRequest, name=name)
        await self._call(self._heads.DeleteHeadVersion, request, timeout, idempotent=False)

    async def report(
        self, head: str, version: int | None = None, *, timeout: float | None = None
    ) -> Report:
        """Returns the report of a version (the active one by default)."""
        request = build(heads_pb2.GetHeadReportRequest, name=str(version_name(head, version)))
        reply = await self._call(self._heads.GetHeadReport, request, timeout)
        return report_replies.report(reply.report)
