"""Who asks, and what that lets them do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from service.errors import no_head, no_tenant
from trunkline.resources import HeadName

ANY = "*"
"""At the end of a pattern it stands for whatever follows; elsewhere ids have none."""


class Role(StrEnum):
    """What a key lets its bearer do; `trunkline.v1.Role` says it at length."""

    PREDICT = "predict"
    FEEDBACK = "feedback"
    LABEL = "label"
    TRAIN = "train"
    OWN = "own"
    OPERATE = "operate"
    METRICS = "metrics"


OF_TENANTS = frozenset(Role) - {Role.OPERATE, Role.METRICS}
"""Roles of tenants' keys; others are of keys without a tenant, each by itself."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks.

    Attributes:
        roles: of the key; `Role.OPERATE` includes all others.
        tenant: whose heads it is good for; None for all.
        heads: patterns of the ids of these heads; empty for all.
        key: id of the key; "" where none is asked for.
        expires_at: when the key expires, in seconds since 1970; None if it does not.
    """

    roles: frozenset[Role]
    tenant: str | None = None
    heads: tuple[str, ...] = ()
    key: str = ""
    expires_at: float | None = None

    @property
    def operates(self) -> bool:
        """Whether it may do everything."""
        return Role.OPERATE in self.roles

    @property
    def may_read_metrics(self) -> bool:
        """Whether it may know what metrics tell, the names of tenants among it."""
        return self.operates or Role.METRICS in self.roles

    def may_see_tenant(self, tenant: str) -> bool:
        """Returns whether a tenant exists as far as the caller can tell."""
        return self.tenant is None or self.tenant == tenant

    def may_see_head(self, head: str) -> bool:
        """Returns whether a head of the caller's tenant exists as far as it can tell.

        Args:
            head: its id.
        """
        return not self.heads or any(matches(pattern, head) for pattern in self.heads)

    def check_tenant(self, tenant: str) -> None:
        """Refuses another tenant as one that does not exist.

        Raises:
            NotFound: the caller may not see it.
        """
        if not self.may_see_tenant(tenant):
            raise no_tenant(tenant).as_hidden()

    def check_head(self, name: HeadName) -> None:
        """Refuses a head as one that does not exist.

        Raises:
            NotFound: the caller may not see it.
        """
        if not (self.may_see_tenant(name.tenant) and self.may_see_head(name.head)):
            raise no_head(name).as_hidden()


NOBODY = Caller(frozenset())
"""Who shows no good key, where one is needed."""

ANYONE = Caller(frozenset({Role.OPERATE}))
"""Whoever asks a server that asks nobody for a key."""


def matches(pattern: str, head: str) -> bool:
    """Returns whether a pattern stands for the id of a head, among others or alone."""
    if pattern.endswith(ANY):
        return head.startswith(pattern[: -len(ANY)])
    return head == pattern


def in_order(roles: Iterable[Role]) -> list[Role]:
    """Returns roles, each once, in the order of `Role`."""
    given = set(roles)
    return [role for role in Role if role in given]
