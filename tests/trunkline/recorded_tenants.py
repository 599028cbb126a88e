"""The recording server's methods about tenants."""

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from tests.trunkline.recorded_state import State, refuse
from trunkline.v1 import tenants_pb2

MADE = Timestamp(seconds=1_700_000_000)


class RecordedTenants(State):
    def __init__(self) -> None:
        super().__init__()
        self.tenants: dict[str, tenants_pb2.Tenant] = {}

    def ListTenants(self, request: Any, context: Any) -> Any:
        self._record("ListTenants", request, context)
        found = [self.tenants[name] for name in sorted(self.tenants)]
        begin = int(request.page_token or 0)
        more = str(begin + self.page) if len(found) > begin + self.page else ""
        return tenants_pb2.ListTenantsResponse(
            tenants=found[begin : begin + self.page], next_page_token=more
        )

    def GetTenant(self, request: Any, context: Any) -> Any:
        self._record("GetTenant", request, context)
        return tenants_pb2.GetTenantResponse(tenant=self._tenant(request.name, context))

    def UpdateTenant(self, request: Any, context: Any) -> Any:
        self._record("UpdateTenant", request, context)
        new = tenants_pb2.Tenant(name=request.name, create_time=MADE)
        tenant = self.tenants.setdefault(request.name, new)
        tenant.own_quotas.MergeFrom(request.quotas)
        for name in request.defaults:
            tenant.own_quotas.ClearField(name)
        tenant.quotas.CopyFrom(tenant.own_quotas)
        return tenants_pb2.UpdateTenantResponse(tenant=tenant)

    def GetUsage(self, request: Any, context: Any) -> Any:
        self._record("GetUsage", request, context)
        names = [name for name in self.tenants if request.tenant in ("tenants/-", name)]
        rows = [
            tenants_pb2.Usage(tenant=name, hour=MADE, rows=3, cached_rows=4, cost=2.5)
            for name in names
        ]
        return tenants_pb2.GetUsageResponse(usage=rows)

    def DeleteTenant(self, request: Any, context: Any) -> Any:
        self._record("DeleteTenant", request, context)
        tenant = self._tenant(request.name, context)
        del self.tenants[request.name]
        return tenants_pb2.DeleteTenantResponse(tenant=tenant, versions=2)

    def _tenant(self, name: str, context: Any) -> tenants_pb2.Tenant:
        if name not in self.tenants:
            refuse(context, "NOT_FOUND", f"there is no {name}", field="tenant", value=name)
        return self.tenants[name]
