"""What of the traffic is kept for people to look at, and what each head says of that."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"

_NEW = """
CREATE TRIGGER count_insert_captures AFTER INSERT ON captures BEGIN
    UPDATE tenants SET stored_bytes = stored_bytes + COALESCE(LENGTH(NEW.input), 0)
    WHERE id = (SELECT tenant_id FROM heads WHERE uid = NEW.head_uid);
END
"""
_GONE = """
CREATE TRIGGER count_delete_captures AFTER DELETE ON captures BEGIN
    UPDATE tenants SET stored_bytes = stored_bytes - COALESCE(LENGTH(OLD.input), 0)
    WHERE id = (SELECT tenant_id FROM heads WHERE uid = OLD.head_uid);
END
"""
_CHANGED = """
CREATE TRIGGER count_update_captures AFTER UPDATE OF input ON captures BEGIN
    UPDATE tenants SET stored_bytes = stored_bytes
        + COALESCE(LENGTH(NEW.input), 0) - COALESCE(LENGTH(OLD.input), 0)
    WHERE id = (SELECT tenant_id FROM heads WHERE uid = NEW.head_uid);
END
"""

# As those of 0012: all rows of a statement at once, but for updates.
_FUNCTION = """
CREATE FUNCTION count_{event}_captures() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    UPDATE tenants SET stored_bytes = stored_bytes + more.bytes FROM (
        SELECT (SELECT tenant_id FROM heads WHERE uid = {row}.head_uid) AS tenant,
            SUM({more}) AS bytes
        FROM {rows} GROUP BY 1
    ) AS more WHERE id = more.tenant;
    RETURN NULL;
END $$
"""
_EVENTS = {
    "insert": (
        *("added", "added", "COALESCE(LENGTH(added.input), 0)"),
        "AFTER INSERT ON captures REFERENCING NEW TABLE AS added FOR EACH STATEMENT",
    ),
    "delete": (
        *("gone", "gone", "-COALESCE(LENGTH(gone.input), 0)"),
        "AFTER DELETE ON captures REFERENCING OLD TABLE AS gone FOR EACH STATEMENT",
    ),
    "update": (
        *("NEW", "(SELECT 1) AS one"),
        "COALESCE(LENGTH(NEW.input), 0) - COALESCE(LENGTH(OLD.input), 0)",
        "AFTER UPDATE OF input ON captures FOR EACH ROW",
    ),
}


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")

    def words(length: int) -> sa.String:
        return sa.String(length).with_variant(sa.Text(collation="C"), "postgresql")

    op.add_column("heads", sa.Column("capture", text))
    op.create_table(
        "captures",
        sa.Column("number", number, primary_key=True),
        sa.Column("id", words(32), nullable=False, unique=True),
        sa.Column("head_uid", words(32), sa.ForeignKey("heads.uid"), nullable=False),
        sa.Column("version", number, nullable=False),
        sa.Column("live", sa.Boolean, nullable=False),
        sa.Column("digest", words(64), nullable=False),
        sa.Column("kind", words(16), nullable=False),
        sa.Column("reason", words(16), nullable=False),
        sa.Column("sampled_at_random", sa.Boolean, nullable=False),
        sa.Column("chance", sa.Float),
        sa.Column("predicted", text, nullable=False),
        sa.Column("confidence", sa.Float, nullable=False),
        sa.Column("margin", sa.Float, nullable=False),
        sa.Column("answer", text, nullable=False),
        sa.Column("novelty", sa.Float),
        sa.Column("external_id", text),
        sa.Column("metadata", text),
        sa.Column("fingerprint", words(64), nullable=False),
        sa.Column("size", number, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("expires_at", sa.Float),
        sa.Column("state", words(16), nullable=False, server_default="waiting"),
        sa.Column("judged_label", text),
        sa.Column("judged_at", sa.Float),
        sa.Column("judged_by", words(32)),
        sa.Column("leased_by", words(64)),
        sa.Column("leased_until", sa.Float),
        sa.Column("input", sa.LargeBinary),
        sa.Index("captures_by_digest", "digest"),
        sa.Index("captures_by_time", "head_uid", "created_at", "sampled_at_random"),
        sa.Index("captures_by_state", "head_uid", "state"),
        sa.Index("captures_by_end", "head_uid", "expires_at", "size"),
        sa.Index("captures_by_expiry", "expires_at"),
        sqlite_autoincrement=True,
    )
    if op.get_bind().dialect.name != "postgresql":
        for trigger in (_NEW, _GONE, _CHANGED):
            op.execute(trigger)
        return
    for event, (row, rows, more, when) in _EVENTS.items():
        op.execute(_FUNCTION.format(event=event, row=row, rows=rows, more=more))
        name = f"count_{event}_captures"
        op.execute(f"CREATE TRIGGER {name} {when} EXECUTE FUNCTION {name}()")
