"""Which embeddings are of texts beyond the backbone's window; not known of stored ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("embeddings") as embeddings:
        embeddings.add_column(
            sa.Column("truncated", sa.Boolean, nullable=False, server_default=sa.false())
        )
