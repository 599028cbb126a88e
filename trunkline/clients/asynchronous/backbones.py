"""Backbones: which there are, and embeddings of inputs."""

from collections.abc import Iterable

from trunkline import replies
from trunkline.clients.async_waiting import held, next_part
from trunkline.clients.asynchronous.transport import AsyncTransport
from trunkline.rows.outcomes import Outcomes
from trunkline.v1 import admin_pb2, extraction_pb2
from trunkline.values.inputs import InputLike
from trunkline.values.outcomes import Backbone, Embedding, RowFailure
from trunkline.values.sequences import inputs_in
from trunkline.wire.building import build
from trunkline.wire.names import tenant_name
from trunkline.wire.reading import read

# The first time a backbone is loaded it may have to be fetched and exported.
_LOADING_SECONDS = 600.0


class AsyncBackbones(AsyncTransport):
    """The calls about backbones."""

    async def backbones(self, *, timeout: float | None = None) -> list[Backbone]:
        """Lists the backbones that are loaded."""
        request = extraction_pb2.ListBackbonesRequest()
        reply = await self._call(self._extraction.ListBackbones, request, timeout)
        return [read(Backbone, row) for row in reply.backbones]

    async def load_backbone(self, name: str, *, timeout: float | None = None) -> Backbone:
        """Loads a backbone and warms it up. Only from the server's own machine.

        The first time it may have to be fetched and exported, for which `timeout` is ten minutes at
        least unless it is given.
        """
        request = build(admin_pb2.LoadBackboneRequest, name=name)
        reply = await self._call(
            self._admin.LoadBackbone, request, timeout, at_least=_LOADING_SECONDS
        )
        return read(Backbone, reply.backbone)

    async def unload_backbone(self, name: str, *, timeout: float | None = None) -> list[Backbone]:
        """Gives a backbone's memory back, after what is under way. Returns what is still loaded.

        Only from the server's own machine.
        """
        request = build(admin_pb2.UnloadBackboneRequest, name=name)
        reply = await self._call(self._admin.UnloadBackbone, request, timeout, idempotent=False)
        return [read(Backbone, row) for row in reply.backbones]

    async def embed(
        self,
        tenant: str,
        inputs: Iterable[InputLike],
        backbone: str = "",
        *,
        timeout: float | None = None,
    ) -> list[Embedding | RowFailure]:
        """Embeds each input; returns, in order, the embedding or why that row failed.

        Without `backbone`, the default of the inputs' modality makes them.
        """
        items, reads_files = held(inputs_in(inputs))
        outcomes: Outcomes[Embedding] = Outcomes()
        request = build(
            extraction_pb2.EmbedRequest, tenant=str(tenant_name(tenant)), backbone=backbone
        )
        parts = outcomes.parts(items)
        while rows := await next_part(parts, reads_files=reads_files):
            request.ClearField("inputs")
            request.inputs.extend(row.input.message() for row in rows)
            reply = await self._call(self._extraction.Embed, request, timeout)
            outcomes.add(rows, replies.embeddings(reply, len(rows)))
        return outcomes.in_order()
