"""The audit log."""

from collections.abc import AsyncIterator
from datetime import datetime

from trunkline.clients.asynchronous.transport import AsyncTransport
from trunkline.v1 import admin_pb2
from trunkline.values.audit import AuditEntry
from trunkline.wire.building import build
from trunkline.wire.names import key_name, tenant_name
from trunkline.wire.reading import read


class AsyncAudit(AsyncTransport):
    """The call about the audit log."""

    async def audit(
        self,
        tenant: str | None = None,
        *,
        since: datetime | float | None = None,
        until: datetime | float | None = None,
        key: str | None = None,
        method: str | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[AuditEntry]:
        """Lists what was changed and who was refused, newest first, fetched page by page.

        Of a tenant, or all that the key may see: an operator's sees everything, and one that owns a
        tenant what concerns that. `since` and `until` are times, or seconds since 1970; `key` is
        the id of a key, `method` such as "DeleteHead".
        """
        request = build(
            admin_pb2.ListAuditRequest,
            tenant="" if tenant is None else str(tenant_name(tenant)),
            key="" if key is None else str(key_name(key)),
            method=method or "",
            since=_seconds(since),
            until=_seconds(until),
        )
        async for page in self._pages(self._admin.ListAudit, request, timeout):
            for row in page.entries:
                yield read(AuditEntry, row)


def _seconds(time: datetime | float | None) -> float | None:
    return time.timestamp() if isinstance(time, datetime) else time
