"""What servers that share a store tell one another, and who they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.create_table(
        "changes",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("server", sa.String(63), nullable=False),
        sa.Column("changed", sa.Text, nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "servers",
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("started_at", sa.Float, nullable=False),
        sa.Column("lease_ends_at", sa.Float, nullable=False),
    )
