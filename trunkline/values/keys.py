"""Keys of callers: frozen values, free of protobuf."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum


class Role(StrEnum):
    """What a key lets its bearer do, within the key's tenant."""

    PREDICT = "predict"
    """Predictions and embeddings."""
    FEEDBACK = "feedback"
    """Labels of what was predicted."""
    LABEL = "label"
    """Labels of stored examples."""
    TRAIN = "train"
    """Heads, examples, trainings and versions."""
    OWN = "own"
    """The tenant's keys; deleting heads, forgetting examples."""
    OPERATE = "operate"
    """Everything, in all tenants; only of keys without a tenant."""
    METRICS = "metrics"
    """`/metrics`, and nothing else; only of keys without a tenant."""


@dataclass(frozen=True)
class Key:
    """A key, without its text.

    `name` is "keys/…". `tenant` is "tenants/…", "" for an operator's key. `heads` are ids of heads
    that it is good for, one that ends with "*" for all that begin so; empty for all heads. The
    times are None for a key that does not expire, is not revoked, was never used; the last use is
    known by the hour.
    """

    name: str
    tenant: str
    roles: tuple[Role, ...]
    heads: tuple[str, ...]
    note: str
    create_time: datetime
    expire_time: datetime | None = None
    revoke_time: datetime | None = None
    last_use_time: datetime | None = None


@dataclass(frozen=True)
class NewKey:
    """A key that was just made, and its text, which nobody can read again.

    `rotated` is the key whose place it takes, if there is one.
    """

    key: Key
    text: str = field(repr=False)
    rotated: Key | None = None


@dataclass(frozen=True)
class WhoAmI:
    """Whose key a call shows, None where none is asked for, and whether calls need one."""

    key: Key | None
    keys_required: bool
