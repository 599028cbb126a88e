"""What a write changes of what servers hold in memory: noted where rows are written, told after.

A function that changes such a row notes it in the same breath, so nobody who calls it can forget
to; `Database.write` tells all who follow. It is names and numbers alone, fit to be sent on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy import Connection

from service.store.head_records import HeadRecord
from service.store.quotas import Quotas

P = ParamSpec("P")
R = TypeVar("R")

Needed = Mapping[str, Set[str]]
"""Fingerprints under which a tenant's heads still need an input's embedding, by its digest."""

_KEY = "changed"


@dataclass(slots=True)
class Changed:
    """What one write has changed.

    Attributes:
        heads: resource names of heads that another version answers for, or by another policy or
            spec, or that are gone.
        live: uids of heads of which a live copy is built on what is not so any more.
        feedback: tenants by uid of heads that have new feedback.
        needed: by tenant, what is still needed of inputs that left a head.
        tails: by tenant, fingerprints of tails that it has no longer.
        keys: ids of keys that are new, or may do less than before.
        trainings: uids of heads of which a training has ended.
        quotas: by tenant, those of its own from now on.
        gone: tenants that are deleted.
        outdated: tenants of whose embeddings none in memory is to be trusted: another server says
            no more of what it deleted, so that no digest of it is kept.
        everything: whether nothing that is in memory is to be trusted.
    """

    heads: set[str] = field(default_factory=set)
    live: set[str] = field(default_factory=set)
    feedback: dict[str, str] = field(default_factory=dict)
    needed: dict[str, dict[str, Set[str]]] = field(default_factory=dict)
    tails: dict[str, set[str]] = field(default_factory=dict)
    keys: set[str] = field(default_factory=set)
    trainings: set[str] = field(default_factory=set)
    quotas: dict[str, Quotas] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    outdated: set[str] = field(default_factory=set)
    everything: bool = False

    def __bool__(self) -> bool:
        return any(getattr(self, name) for name in self.__slots__)

    def note_head(self, head: HeadRecord) -> None:
        """Notes a change of a head's own row: nothing made of it is right any more."""
        self.heads.add(head.resource)
        self.live.add(head.uid)


def changed_in(connection: Connection) -> Changed:
    """Returns what the write on this connection has changed so far, for more to be noted."""
    changed: Changed = connection.info.setdefault(_KEY, Changed())
    return changed


def noted(
    connection: Connection,
    function: Callable[Concatenate[Connection, P], R],
    *args: P.args,
    **kwargs: P.kwargs,
) -> tuple[R, Changed]:
    """Runs a write; returns its result, and what it has changed."""
    changed = connection.info[_KEY] = Changed()
    return function(connection, *args, **kwargs), changed
