"""Trainings whose version is activated only where that loses no estimate, and what became of it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    with op.batch_alter_table("jobs") as jobs:
        jobs.alter_column("activate", existing_type=sa.Boolean, nullable=True)
        jobs.add_column(sa.Column("inactive_reason", sa.Text))
    op.execute(
        "UPDATE jobs SET inactive_reason = 'the training was asked not to activate it' "
        "WHERE NOT activate"
    )
