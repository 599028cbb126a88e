"""What callers call their examples."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("examples", sa.Column("external_id", sa.Text))
    op.create_index(
        "examples_by_external_id",
        "examples",
        ["head_uid", "external_id"],
        sqlite_where=sa.text("external_id IS NOT NULL"),
        postgresql_where=sa.text("external_id IS NOT NULL"),
    )
