"""Secrets that a tenant's embeddings are sealed with in a cache that servers share."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "cache_secrets",
        sa.Column(
            "tenant_id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            sa.ForeignKey("tenants.id"),
            primary_key=True,
        ),
        sa.Column("tag", sa.LargeBinary, nullable=False),
        sa.Column("slots", sa.LargeBinary, nullable=False),
    )
