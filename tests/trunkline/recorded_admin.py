"""The recording server's methods for its operator."""

from typing import Any

from tests.trunkline.recorded_state import State, backbone, refuse
from trunkline.v1 import admin_pb2


class RecordedAdmin(State):
    def __init__(self) -> None:
        super().__init__()
        self.audited: list[admin_pb2.AuditEntry] = []

    def ListAudit(self, request: Any, context: Any) -> Any:
        self._record("ListAudit", request, context)
        begin = int(request.page_token or 0)
        end = begin + self.page
        more = str(end) if len(self.audited) > end else ""
        return admin_pb2.ListAuditResponse(entries=self.audited[begin:end], next_page_token=more)

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
