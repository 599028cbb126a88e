"""Live copies: what versions knew, and the state of every feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.create_table(
        "members",
        sa.Column("head_uid", sa.String(32), sa.ForeignKey("heads.uid"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True),
        sa.Column("digests", sa.LargeBinary, nullable=False),
        sa.Column("labels", sa.LargeBinary, nullable=False),
    )
    with op.batch_alter_table("heads") as heads:
        heads.add_column(sa.Column("policy", sa.String(16), nullable=False, server_default="gated"))
        heads.add_column(
            sa.Column("allow_new_labels", sa.Boolean, nullable=False, server_default=sa.false())
        )
        heads.add_column(sa.Column("drift_feedback_id", sa.Integer))
        heads.add_column(sa.Column("drift_at", sa.Float))
    with op.batch_alter_table("examples", table_kwargs={"sqlite_autoincrement": True}) as examples:
        examples.add_column(sa.Column("own_label", sa.Text))
        examples.add_column(sa.Column("weight", sa.Float, nullable=False, server_default="1"))
        examples.add_column(
            sa.Column("held_out", sa.Boolean, nullable=False, server_default=sa.false())
        )
    op.execute("UPDATE examples SET own_label = label")
    with op.batch_alter_table("feedback", table_kwargs={"sqlite_autoincrement": True}) as feedback:
        feedback.add_column(
            sa.Column("state", sa.String(16), nullable=False, server_default="live")
        )
        feedback.add_column(sa.Column("active_right", sa.Boolean))
        feedback.add_column(sa.Column("live_right", sa.Boolean))
        feedback.create_index("feedback_by_digest", ["head_uid", "digest"])
        feedback.create_index("feedback_by_state", ["head_uid", "state"])
    # What came before there were live copies was for the next training and counts as learned.
    op.execute("UPDATE feedback SET state = 'learned'")
