"""Who vouched for an example in a review, and what a judgement took the place of."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"


def upgrade() -> None:
    text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    words = sa.String(32).with_variant(sa.Text(collation="C"), "postgresql")
    op.add_column("examples", sa.Column("reviewer", words))
    op.add_column("captures", sa.Column("before", text))
