"""Tenants, what they may use and did use: frozen values, free of protobuf."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Quotas:
    """What a tenant may use; 0 for no bound, None for what is not set.

    `cost_per_second` is in cost units, of which an image of 224 x 224 pixels takes one;
    `cost_burst` of them are kept for later, 0 for those of 10 seconds. `rows_in_flight` are rows
    inside the pipeline at a time, `examples` those of all heads, `stored_bytes` those of inputs,
    embeddings, weights and tails.
    """

    cost_per_second: float | None = None
    cost_burst: float | None = None
    rows_in_flight: int | None = None
    examples: int | None = None
    stored_bytes: int | None = None


@dataclass(frozen=True)
class Tenant:
    """A tenant: `quotas` are those that count, `own_quotas` those that were set for it alone.

    `name` is "tenants/…". `keys` counts those out of use, too.
    """

    name: str
    create_time: datetime
    quotas: Quotas
    own_quotas: Quotas
    heads: int
    keys: int
    examples: int
    stored_bytes: int


@dataclass(frozen=True)
class Usage:
    """What a tenant used within the hour that begins at `hour`.

    `rows` were computed, views and what trainings compute included; `cached_rows` were in memory.
    `cost` is in cost units, `device_seconds` the tenant's share of the time of forward passes.
    """

    tenant: str
    hour: datetime
    rows: int
    cached_rows: int
    cost: float
    device_seconds: float
    input_bytes: int


@dataclass(frozen=True)
class DeletedTenant:
    """A tenant as it was, and how much went with it beside that."""

    tenant: Tenant
    versions: int
    feedback: int
    trainings: int
    embeddings: int
    usage_hours: int
