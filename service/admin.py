"""The use cases behind ``LoadBackbone`` and ``UnloadBackbone``."""

from __future__ import annotations

from service.completion import UninterruptedTasks
from service.errors import InvalidRequest, PermissionDenied
from service.extraction import Extractor
from service.handlers.backbones import backbone_message
from service.requests.calls import Call
from trunkline.v1 import admin_pb2


class Admin:
    """Changes what a server runs, for whoever is on its machine."""

    def __init__(self, extractor: Extractor, completion: UninterruptedTasks) -> None:
        self._extractor = extractor
        self._completion = completion

    async def load(
        self, request: admin_pb2.LoadBackboneRequest, call: Call
    ) -> admin_pb2.LoadBackboneResponse:
        """Loads a backbone; goes on if the caller leaves.

        Raises:
            PermissionDenied: the caller is on another machine.
            InvalidRequest: there is no such backbone.
            PreconditionFailed: it cannot be loaded.
        """
        _check(request.name, call)
        info = await self._completion.run(self._extractor.load_backbone(request.name))
        return admin_pb2.LoadBackboneResponse(backbone=backbone_message(info))

    async def unload(
        self, request: admin_pb2.UnloadBackboneRequest, call: Call
    ) -> admin_pb2.UnloadBackboneResponse:
        """Unloads a backbone, heads or no heads; goes on if the caller leaves.

        Raises:
            PermissionDenied: the caller is on another machine.
            PreconditionFailed: it is not loaded.
        """
        _check(request.name, call)
        await self._completion.run(self._extractor.unload_backbone(request.name))
        return admin_pb2.UnloadBackboneResponse(
            backbones=[backbone_message(info) for info in self._extractor.backbones()]
        )


def _check(name: str, call: Call) -> None:
    if not call.local:
        raise PermissionDenied(
            f"{call.method}: may be asked on the server's own machine only", field="peer"
        )
    if not name:
        raise InvalidRequest("name: must not be empty", field="name", limit="a backbone", value="")
