"""Tails, the backbone of each version, and trainings that move a head."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.create_table(
        "tails",
        sa.Column("head_uid", sa.String(32), sa.ForeignKey("heads.uid"), primary_key=True),
        sa.Column("fingerprint", sa.String(64), primary_key=True),
        sa.Column("strategy", sa.String(16), nullable=False),
        sa.Column("blocks", sa.Text, nullable=False),
        sa.Column("size", sa.Integer, nullable=False),
        sa.Column("safetensors", sa.LargeBinary, nullable=False),
    )
    with op.batch_alter_table("versions") as versions:
        versions.add_column(sa.Column("backbone", sa.Text))
        versions.add_column(sa.Column("base_fingerprint", sa.String(64)))
        versions.add_column(sa.Column("tail", sa.String(64)))
    # Until now a head could not move.
    op.execute(
        "UPDATE versions SET backbone = heads.backbone, base_fingerprint = heads.fingerprint "
        "FROM heads WHERE heads.uid = versions.head_uid"
    )
    with op.batch_alter_table("versions") as versions:
        versions.alter_column("backbone", existing_type=sa.Text, nullable=False)
        versions.alter_column("base_fingerprint", existing_type=sa.String(64), nullable=False)
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("backbone", sa.Text))
