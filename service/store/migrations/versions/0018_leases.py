"""Servers that share a store: what each has confirmed, whose trainings are, and common secrets."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    words = sa.String(32).with_variant(sa.Text(collation="C"), "postgresql")
    op.execute("DELETE FROM servers")  # nothing wrote any
    op.add_column("servers", sa.Column("session", words))
    op.add_column("servers", sa.Column("confirmed", number, nullable=False, server_default="0"))
    op.add_column("jobs", sa.Column("claimed_by", words))
    op.add_column("jobs", sa.Column("forgettings", number))
    op.add_column("heads", sa.Column("forgettings", number, nullable=False, server_default="0"))
    op.create_table(
        "secrets",
        sa.Column("name", words, primary_key=True),
        sa.Column("value", sa.LargeBinary, nullable=False),
    )
