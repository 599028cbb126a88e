"""Versions that are pinned, that were active before, and that had to go for another."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    pinned = sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false())
    previous = sa.Column("previous_version", sa.Integer, nullable=False, server_default="0")
    op.add_column("versions", pinned)
    op.add_column("heads", previous)
    op.add_column("jobs", sa.Column("removed_versions", sa.Text))
    # Nobody noted which one was active before; mostly it was the last one that was made before.
    op.execute(
        "UPDATE heads SET previous_version = coalesce((SELECT max(version) FROM versions "
        "WHERE versions.head_uid = heads.uid AND versions.version < heads.active_version), 0)"
    )
