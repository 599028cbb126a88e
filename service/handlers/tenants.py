"""The RPCs on tenants: list, get, update and delete, and ``GetUsage``."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from google.protobuf.timestamp_pb2 import Timestamp

from service.concurrency.tasks import UninterruptedTasks
from service.config.server_settings import LEAST_COST_PER_SECOND
from service.errors import InvalidRequest
from service.live import LiveCopies
from service.logs import get_logger
from service.replies.tenants import tenant_message, usage_message
from service.requests.call import Call
from service.requests.paging import PageTokens, page_size
from service.store import Database
from service.store import tenants as stored_tenants
from service.store import usage as stored_usage
from service.store.quotas import QUOTAS, Quotas
from service.store.tenants import Deleted
from service.training.jobs import TrainingJobs
from trunkline.resources import ALL_TENANTS, TenantName
from trunkline.v1 import tenants_pb2

MOST_COST = 1e12
MOST_STORED = 2**62
_LAST = 2**62

log = get_logger(__name__)


@dataclass(eq=False)
class Tenants:
    """Shows what tenants may use and did use, changes the former, and deletes tenants."""

    _database: Database
    _live: LiveCopies
    _jobs: TrainingJobs
    _tasks: UninterruptedTasks
    _tokens: PageTokens
    _defaults: Quotas

    async def list_tenants(
        self, request: tenants_pb2.ListTenantsRequest, call: Call
    ) -> tenants_pb2.ListTenantsResponse:
        """Returns a page of tenants, by name."""
        size = page_size(request.page_size)
        after = self._tokens.read("tenants", request.page_token, str)
        found = await self._database.read(stored_tenants.list_tenants, after, size + 1)
        page = found[:size]
        return tenants_pb2.ListTenantsResponse(
            tenants=[tenant_message(record, self._defaults) for record in page],
            next_page_token=self._tokens.write("tenants", page[-1].name)
            if len(found) > size
            else "",
        )

    async def get_tenant(
        self, request: tenants_pb2.GetTenantRequest, call: Call
    ) -> tenants_pb2.GetTenantResponse:
        """Returns a tenant."""
        name = TenantName.parse(request.name, field="name").tenant
        record = await self._database.read(stored_tenants.get_tenant, name)
        return tenants_pb2.GetTenantResponse(tenant=tenant_message(record, self._defaults))

    async def update_tenant(
        self, request: tenants_pb2.UpdateTenantRequest, call: Call
    ) -> tenants_pb2.UpdateTenantResponse:
        """Changes what the request names; it counts from the reply on."""
        name = TenantName.parse(request.name, field="name").tenant
        changes = _changes(request.quotas, request.defaults)
        record = await self._database.write(stored_tenants.update_quotas, name, changes)
        log.info("quotas changed", tenant=name, **changes)
        return tenants_pb2.UpdateTenantResponse(tenant=tenant_message(record, self._defaults))

    async def get_usage(
        self, request: tenants_pb2.GetUsageRequest, call: Call
    ) -> tenants_pb2.GetUsageResponse:
        """Returns a page of what was used, by tenant and hour."""
        tenant = call.caller.tenant
        if request.tenant != ALL_TENANTS:
            tenant = TenantName.parse(request.tenant).tenant
        size = page_size(request.page_size)
        begin = _seconds(request.start_time) if request.HasField("start_time") else 0
        end = _seconds(request.end_time) if request.HasField("end_time") else _LAST
        listed = f"usage/{tenant or ''}/{begin}/{end}"
        after = self._tokens.read(listed, request.page_token, int)
        found = await self._database.read(
            stored_usage.list_usage, tenant, begin, end, after, size + 1
        )
        page = found[:size]
        return tenants_pb2.GetUsageResponse(
            usage=[usage_message(record) for record in page],
            next_page_token=self._tokens.write(listed, page[-1].id) if len(found) > size else "",
        )

    async def delete_tenant(
        self, request: tenants_pb2.DeleteTenantRequest, call: Call
    ) -> tenants_pb2.DeleteTenantResponse:
        """Deletes a tenant with all that is its own; a client that leaves does not stop it."""
        name = TenantName.parse(request.name, field="name").tenant
        deleted = await self._tasks.run(self._delete(name))
        return tenants_pb2.DeleteTenantResponse(
            tenant=tenant_message(deleted.tenant, self._defaults),
            versions=deleted.versions,
            feedback=deleted.feedback,
            trainings=deleted.trainings,
            embeddings=deleted.embeddings,
            usage_hours=deleted.usage_hours,
        )

    async def _delete(self, name: str) -> Deleted:
        deleted = await self._database.write(stored_tenants.delete_tenant, name)
        for uid in deleted.uids:
            await self._jobs.forget_head(uid)
            await self._live.until_dropped(uid)
        await self._database.checkpoint()
        log.warning(
            "tenant deleted",
            tenant=name,
            heads=len(deleted.uids),
            examples=deleted.tenant.examples,
            stored_bytes=deleted.tenant.stored_bytes,
        )
        return deleted


def _changes(quotas: tenants_pb2.Quotas, defaults: Sequence[str]) -> dict[str, float | None]:
    """Returns what becomes of a tenant's own quotas, None for the server's default.

    Raises:
        InvalidRequest: a quota makes no sense, or there is none of a name.
    """
    changes: dict[str, float | None] = {}
    for name in defaults:
        if name not in QUOTAS or quotas.HasField(name):  # type: ignore[arg-type]
            raise InvalidRequest.at(
                "defaults",
                "must be of {limit}, each without a value of its own, has {value!r}",
                ", ".join(QUOTAS),
                name,
            )
        changes[name] = None
    for descriptor, value in quotas.ListFields():
        _check(descriptor.name, value)
        changes[descriptor.name] = value
    return changes


def _check(name: str, value: float) -> None:
    most: float = MOST_COST if name.startswith("cost") else MOST_STORED
    least = LEAST_COST_PER_SECOND if name == "cost_per_second" else 0
    if value and not (math.isfinite(value) and least <= value <= most):
        raise InvalidRequest.at(
            f"quotas.{name}",
            "must be {limit}, is {value}",
            f"0 for no bound, or from {least:g} to {most:g}",
            value,
        )


def _seconds(time: Timestamp) -> int:
    return time.seconds + bool(time.nanos)
