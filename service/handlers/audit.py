"""The RPC ``ListAudit``."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select

from service.errors import UnknownMethod
from service.replies.audit import entry_message
from service.requests.call import Call
from service.requests.fields import check_time
from service.requests.paging import PageTokens, page_size
from service.store import Database, schema
from service.store.audit import StoredAuditRow, list_audit_rows
from trunkline.resources import KeyName, TenantName
from trunkline.v1 import admin_pb2


@dataclass(eq=False)
class AuditLog:
    """Shows who changed what, and who was refused."""

    _database: Database
    _tokens: PageTokens

    async def list_audit(
        self, request: admin_pb2.ListAuditRequest, call: Call
    ) -> admin_pb2.ListAuditResponse:
        """Returns a page of rows, the newest first."""
        tenant = TenantName.parse(request.tenant).tenant if request.tenant else call.caller.tenant
        key = KeyName.parse(request.key).key if request.key else None
        since = check_time("since", request.since) if request.HasField("since") else None
        until = check_time("until", request.until) if request.HasField("until") else None
        size = page_size(request.page_size)
        name = f"audit/{tenant or ''}"
        before = self._tokens.read(name, request.page_token, int)
        found = await self._database.read(
            _visible,
            of_tenant=call.caller.tenant is not None,
            tenant=tenant,
            key=key,
            method=request.method or None,
            since=since,
            until=until,
            before=before,
            limit=size + 1,
        )
        token = self._tokens.write(name, found[size - 1].number) if len(found) > size else ""
        return admin_pb2.ListAuditResponse(
            entries=[entry_message(stored.row) for stored in found[:size]], next_page_token=token
        )


class NoAuditLog:
    """Stands for the log where none is kept: with an extractor, which has no store."""

    async def list_audit(
        self, request: admin_pb2.ListAuditRequest, call: Call
    ) -> admin_pb2.ListAuditResponse:
        """Refuses.

        Raises:
            UnknownMethod: always.
        """
        raise UnknownMethod("ListAudit: an extractor keeps no audit log", field="method")


def _visible(
    connection: Connection,
    *,
    of_tenant: bool,
    tenant: str | None,
    key: str | None,
    method: str | None,
    since: float | None,
    until: float | None,
    before: int,
    limit: int,
) -> list[StoredAuditRow]:
    """Returns rows; a tenant sees none of an earlier one of its name, which was deleted."""
    if of_tenant:
        made = select(schema.tenants.c.created_at).where(schema.tenants.c.name == tenant)
        since = max(since or 0.0, connection.scalar(made) or 0.0)
    return list_audit_rows(
        connection,
        tenant=tenant,
        key=key,
        method=method,
        since=since,
        until=until,
        before=before,
        limit=limit,
    )
