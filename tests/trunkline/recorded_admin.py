"""The recording server's methods for its operator."""

from typing import Any

from tests.trunkline.recorded_state import State, backbone, refuse
from trunkline.v1 import admin_pb2


class RecordedAdmin(State):
    def LoadBackbone(self, request: Any, context: Any) -> Any:
        self._record("LoadBackbone", request, context)
        loaded = self.backbones.setdefault(request.name, backbone(request.name, "image", "cd" * 32))
        return admin_pb2.LoadBackboneResponse(backbone=loaded)

    def UnloadBackbone(self, request: Any, context: Any) -> Any:
        self._record("UnloadBackbone", request, context)
        if request.name not in self.backbones:
            refuse(context, "NOT_FOUND", "not loaded", field="name", value=request.name)
        del self.backbones[request.name]
        return admin_pb2.UnloadBackboneResponse(backbones=self.backbones.values())
