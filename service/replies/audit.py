"""Rows of the audit log as messages."""

from __future__ import annotations

from service.replies.heads import timestamp
from service.replies.messages import message_of
from service.store.audit import AuditRow
from trunkline.v1 import admin_pb2


def entry_message(row: AuditRow) -> admin_pb2.AuditEntry:
    """Converts a row to its message."""
    return message_of(
        admin_pb2.AuditEntry,
        row,
        time=timestamp(row.at),
        key=f"keys/{row.key}" if row.key else "",
        tenant=f"tenants/{row.tenant}" if row.tenant else "",
    )
