"""Tenants and what they used, as messages."""

from __future__ import annotations

from service.replies.heads import timestamp
from service.replies.messages import message_of
from service.store.quotas import QUOTAS, Quotas
from service.store.tenants import TenantRecord
from service.store.usage import UsageRecord
from trunkline.v1 import tenants_pb2


def tenant_message(record: TenantRecord, defaults: Quotas) -> tenants_pb2.Tenant:
    """Converts a tenant to its message."""
    return message_of(
        tenants_pb2.Tenant,
        record,
        name=f"tenants/{record.name}",
        create_time=timestamp(record.created_at),
        quotas=_quotas_message(record.quotas.over(defaults)),
        own_quotas=_quotas_message(record.quotas),
    )


def usage_message(record: UsageRecord) -> tenants_pb2.Usage:
    """Converts what a tenant used within an hour to its message."""
    return message_of(
        tenants_pb2.Usage,
        record.used,
        tenant=f"tenants/{record.tenant}",
        hour=timestamp(record.hour),
    )


def _quotas_message(quotas: Quotas) -> tenants_pb2.Quotas:
    given = {name: value for name in QUOTAS if (value := getattr(quotas, name)) is not None}
    return tenants_pb2.Quotas(**given)
