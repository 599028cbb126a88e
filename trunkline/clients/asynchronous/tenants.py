"""Tenants: their quotas, their usage, and their end."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from trunkline.clients.asynchronous.transport import AsyncTransport
from trunkline.v1 import tenants_pb2
from trunkline.values.sequences import strings_in
from trunkline.values.tenants import DeletedTenant, Quotas, Tenant, Usage
from trunkline.wire.building import as_timestamp, build
from trunkline.wire.names import tenant_name
from trunkline.wire.reading import read

ALL = "tenants/-"


class AsyncTenants(AsyncTransport):
    """The calls about tenants."""

    async def list_tenants(self, *, timeout: float | None = None) -> AsyncIterator[Tenant]:
        """Lists tenants by name, fetched page by page; of operators."""
        request = tenants_pb2.ListTenantsRequest()
        async for page in self._pages(self._tenants.ListTenants, request, timeout):
            for row in page.tenants:
                yield read(Tenant, row)

    async def get_tenant(self, tenant: str, *, timeout: float | None = None) -> Tenant:
        """Returns a tenant with its quotas, and what it stores. Raises `NotFound`."""
        request = build(tenants_pb2.GetTenantRequest, name=str(tenant_name(tenant)))
        reply = await self._call(self._tenants.GetTenant, request, timeout)
        return read(Tenant, reply.tenant)

    async def update_tenant(
        self,
        tenant: str,
        quotas: Quotas | None = None,
        *,
        defaults: Sequence[str] = (),
        timeout: float | None = None,
    ) -> Tenant:
        """Changes those `quotas` that are not None, and makes the tenant if there is none.

        `defaults` are names of quotas that are to be the server's again.
        """
        given = Quotas() if quotas is None else quotas
        message = build(
            tenants_pb2.Quotas,
            cost_per_second=given.cost_per_second,
            cost_burst=given.cost_burst,
            rows_in_flight=given.rows_in_flight,
            examples=given.examples,
            stored_bytes=given.stored_bytes,
        )
        request = build(
            tenants_pb2.UpdateTenantRequest,
            name=str(tenant_name(tenant)),
            quotas=message,
            defaults=strings_in(defaults, "defaults"),
        )
        reply = await self._call(self._tenants.UpdateTenant, request, timeout)
        return read(Tenant, reply.tenant)

    async def get_usage(
        self,
        tenant: str | None = None,
        *,
        start: datetime | None = None,
        end: datetime | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[Usage]:
        """Lists what a tenant used by the hour, or all that may be seen, fetched page by page.

        The hours begin from `start` on and before `end`; times without a zone are in UTC.
        """
        request = build(
            tenants_pb2.GetUsageRequest,
            tenant=ALL if tenant is None else str(tenant_name(tenant)),
            start_time=as_timestamp(start, "start"),
            end_time=as_timestamp(end, "end"),
        )
        async for page in self._pages(self._tenants.GetUsage, request, timeout):
            for row in page.usage:
                yield read(Usage, row)

    async def delete_tenant(self, tenant: str, *, timeout: float | None = None) -> DeletedTenant:
        """Deletes a tenant with all that is its own, for good. Raises `NotFound`."""
        request = build(tenants_pb2.DeleteTenantRequest, name=str(tenant_name(tenant)))
        reply = await self._call(self._tenants.DeleteTenant, request, timeout, idempotent=False)
        return read(DeletedTenant, reply)
