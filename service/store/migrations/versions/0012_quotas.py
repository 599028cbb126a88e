"""Quotas and usage of tenants, and counts of what they store, which triggers keep."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0010"

_OF_HEAD = "(SELECT tenant_id FROM heads WHERE uid = {row}.head_uid)"
_BYTES = {
    "examples": "COALESCE(LENGTH({row}.input), 0)",
    "versions": "LENGTH({row}.safetensors)",
    "members": "LENGTH({row}.digests) + LENGTH({row}.labels)",
    "tails": "LENGTH({row}.safetensors)",
    "embeddings": "LENGTH({row}.vector)",
}
_CHANGED = {
    "examples": "input",
    "versions": "safetensors",
    "members": "digests, labels",
    "tails": "safetensors",
    "embeddings": "vector",
}

# A migration that makes one of these tables anew has to make its triggers anew, too. On PostgreSQL
# they count all rows of a statement at once: each update of a tenant leaves a row behind.
_TRIGGER = """
CREATE TRIGGER count_{event}_{table} AFTER {when} ON {table} BEGIN
    UPDATE tenants SET stored_bytes = stored_bytes + ({more}){examples} WHERE id = {tenant};
END
"""

_FUNCTION = """
CREATE FUNCTION count_{event}_{table}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE tenants SET stored_bytes = stored_bytes + more.bytes, examples = examples + more.number
    FROM (
        SELECT {tenant} AS tenant, SUM({more}) AS bytes, COUNT(*) * {number} AS number
        FROM {rows} GROUP BY 1
    ) AS more WHERE id = more.tenant;
    RETURN NULL;
END $$
"""
_POSTGRES = {
    "insert": "AFTER INSERT ON {table} REFERENCING NEW TABLE AS added FOR EACH STATEMENT",
    "delete": "AFTER DELETE ON {table} REFERENCING OLD TABLE AS gone FOR EACH STATEMENT",
    "update": "AFTER UPDATE OF {columns} ON {table} FOR EACH ROW",
}


def upgrade() -> None:
    for name, kind in (
        ("quota_cost_per_second", sa.Float),
        ("quota_cost_burst", sa.Float),
        ("quota_rows_in_flight", sa.Integer),
        ("quota_examples", sa.Integer),
        ("quota_stored_bytes", sa.Integer),
    ):
        op.add_column("tenants", sa.Column(name, kind))
    for name in ("examples", "stored_bytes"):
        counted = sa.Column(name, sa.Integer, nullable=False, server_default="0")
        op.add_column("tenants", counted)
    op.create_table(
        "usage",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("tenant_id", sa.Integer, sa.ForeignKey("tenants.id"), nullable=False),
        sa.Column("hour", sa.Integer, nullable=False),
        sa.Column("rows", sa.Integer, nullable=False),
        sa.Column("cached_rows", sa.Integer, nullable=False),
        sa.Column("cost", sa.Float, nullable=False),
        sa.Column("device_seconds", sa.Float, nullable=False),
        sa.Column("input_bytes", sa.Integer, nullable=False),
        sa.UniqueConstraint("tenant_id", "hour"),
        sa.Index("usage_by_hour", "hour"),
        sqlite_autoincrement=True,
    )
    watch = _watch_in_postgres if op.get_bind().dialect.name == "postgresql" else _watch
    for table in _BYTES:
        _count(table)
        watch(table)


def _count(table: str) -> None:
    nbytes = _BYTES[table].format(row=table)
    if table == "embeddings":
        rows, mine = table, "tenant_id = tenants.id"
    else:
        rows, mine = f"{table} JOIN heads ON uid = head_uid", "heads.tenant_id = tenants.id"
    bytes_of = f"(SELECT COALESCE(SUM({nbytes}), 0) FROM {rows} WHERE {mine})"  # noqa: S608
    op.execute(f"UPDATE tenants SET stored_bytes = stored_bytes + {bytes_of}")  # noqa: S608
    if table == "examples":
        count = f"(SELECT COUNT(*) FROM {rows} WHERE {mine})"  # noqa: S608
        op.execute(f"UPDATE tenants SET examples = {count}")  # noqa: S608


def _watch(table: str) -> None:
    new, old = (_BYTES[table].format(row=row) for row in ("NEW", "OLD"))
    events = {
        "insert": ("INSERT", new, "NEW", 1),
        "delete": ("DELETE", f"-({old})", "OLD", -1),
        "update": (f"UPDATE OF {_CHANGED[table]}", f"{new} - ({old})", "NEW", 0),
    }
    for event, (when, more, row, number) in events.items():
        tenant = f"{row}.tenant_id" if table == "embeddings" else _OF_HEAD.format(row=row)
        counted = table == "examples" and number
        examples = f", examples = examples + ({number})" if counted else ""
        op.execute(
            _TRIGGER.format(
                event=event, table=table, when=when, more=more, examples=examples, tenant=tenant
            )
        )


def _watch_in_postgres(table: str) -> None:
    added, gone, new, old = (
        _BYTES[table].format(row=row) for row in ("added", "gone", "NEW", "OLD")
    )
    events = {
        "insert": ("added", added, "added", 1),
        "delete": ("gone", f"-({gone})", "gone", -1),
        "update": ("(SELECT 1) AS one", f"{new} - ({old})", "NEW", 0),
    }
    for event, (rows, more, row, number) in events.items():
        tenant = f"{row}.tenant_id" if table == "embeddings" else _OF_HEAD.format(row=row)
        made = _FUNCTION.format(
            event=event,
            table=table,
            more=more,
            rows=rows,
            tenant=tenant,
            number=number if table == "examples" else 0,
        )
        when = _POSTGRES[event].format(table=table, columns=_CHANGED[table])
        name = f"count_{event}_{table}"
        op.execute(made)
        op.execute(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {name}()")
