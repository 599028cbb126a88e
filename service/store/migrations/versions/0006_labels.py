"""Labels in Unicode's composed form (NFC); two forms of one label become one.

Versions stay as they are: their labels are normalised when they are read.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import sqlalchemy as sa
from alembic import context, op

from trunkline.labels import normalised

revision = "0006"
down_revision = "0005"

_TENANTS = sa.table("tenants", sa.column("id"), sa.column("name"))
_HEADS = sa.table(
    "heads", sa.column("uid"), sa.column("tenant_id"), sa.column("name"), sa.column("spec")
)
_JOBS = sa.table("jobs", sa.column("id"), sa.column("spec"))
_EXAMPLES = sa.table("examples", sa.column("head_uid"), sa.column("label"), sa.column("own_label"))
_FEEDBACK = sa.table("feedback", sa.column("head_uid"), sa.column("label"))
_LABELS = ((_EXAMPLES, "label"), (_EXAMPLES, "own_label"), (_FEEDBACK, "label"))


def upgrade() -> None:
    connection = op.get_bind()
    labels: dict[str, set[str]] = {}
    for table, column in _LABELS:
        query = sa.select(table.c.head_uid, table.c[column]).where(table.c[column].is_not(None))
        for uid, label in connection.execute(query.distinct()).all():
            labels.setdefault(uid, set()).add(label)
    for uid, of_head in labels.items():
        for label in of_head:
            if normalised(label) != label:
                _rename(connection, uid, label, normalised(label))
    for table, key in ((_HEADS, "uid"), (_JOBS, "id")):
        _normalise_specs(connection, table, key)
    names = _names(connection)
    context.config.attributes["joined_labels"] = {
        names[uid]: joined
        for uid, of_head in sorted(labels.items())
        if (joined := sum(n for n in Counter(map(normalised, of_head)).values() if n > 1))
    }


def _rename(connection: sa.Connection, uid: str, label: str, to: str) -> None:
    for table, column in _LABELS:
        same = (table.c.head_uid == uid, table.c[column] == label)
        connection.execute(sa.update(table).where(*same).values({column: to}))


def _normalise_specs(connection: sa.Connection, table: sa.TableClause, key: str) -> None:
    """Normalises the labels that weights are given to; of two that become one, the last counts."""
    for name, text in connection.execute(sa.select(table.c[key], table.c.spec)).all():
        spec: dict[str, Any] = json.loads(text)
        weights: dict[str, float] = spec.get("class_weights") or {}
        composed = {normalised(label): weight for label, weight in weights.items()}
        if composed != weights:
            written = json.dumps(spec | {"class_weights": composed})
            connection.execute(sa.update(table).where(table.c[key] == name).values(spec=written))


def _names(connection: sa.Connection) -> dict[str, str]:
    """Returns heads' names by their uids."""
    joined = _HEADS.join(_TENANTS, _TENANTS.c.id == _HEADS.c.tenant_id)
    query = sa.select(_HEADS.c.uid, _TENANTS.c.name, _HEADS.c.name).select_from(joined)
    rows = connection.execute(query)
    return {uid: f"tenants/{tenant}/heads/{name}" for uid, tenant, name in rows}
