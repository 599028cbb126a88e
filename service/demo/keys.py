"""A key for each tenant of the demo, and what comes of showing another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from service.access.operator_key import FILE
from service.demo.data import Task
from service.demo.errors import DemoError
from service.demo.server import Server
from trunkline import Client, NotFound, Role
from trunkline.resources import HeadName

ROLES = (Role.PREDICT, Role.FEEDBACK, Role.TRAIN)


def operators_key(data_dir: Path) -> str:
    """Returns the key that the server made at its first start."""
    return (data_dir / FILE).read_text(encoding="ascii").strip()


def make_keys(operator: Client, tasks: Sequence[Task]) -> dict[str, str]:
    """Makes a key for the tenant of each head; returns their texts by head."""
    return {task.head: operator.create_key(tenant_of(task.head), ROLES).text for task in tasks}


def tenant_of(head: str) -> str:
    """Returns the id of the tenant that a head belongs to."""
    return HeadName.read(head).tenant


def ask_with_anothers_key(head: str, keys: Mapping[str, str], server: Server) -> str:
    """Asks a head with the key of another tenant; returns the code of the refusal.

    Raises:
        DemoError: it was not refused.
    """
    foreign = next(key for owned, key in keys.items() if tenant_of(owned) != tenant_of(head))
    with Client(server.grpc, token=foreign) as client:
        try:
            client.get_head(head)
        except NotFound as refused:
            return refused.code
    raise DemoError(f"{head} answered to the key of another tenant")
