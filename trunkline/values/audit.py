"""Rows of the audit log: frozen values, free of protobuf."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class AuditEntry:
    """A call that changed something, or was refused.

    `key` is "keys/…", "" where no good key was shown. `tenant` is the key's, "tenants/…"; of an
    operator's key, the one that the request names. `resource` is the name that the request gives,
    `outcome` the status code. `transport` is "grpc", "rest", or "store" for what was done on the
    store itself. `dropped` refusals before it were not kept, as too many came at once.
    """

    time: datetime
    key: str
    tenant: str
    method: str
    resource: str
    outcome: str
    request_id: str
    transport: str
    peer: str
    dropped: int
