"""What callers say of their examples in pairs, and an index of the labelled ones."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"


def upgrade() -> None:
    number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    words = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    op.create_table(
        "example_metadata",
        sa.Column(
            "example_id",
            number,
            sa.ForeignKey("examples.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("key", _short(64), primary_key=True),
        sa.Column("value", words, nullable=False),
        sa.Column("head_uid", _short(32), nullable=False),
        sa.Index("example_metadata_by_pair", "head_uid", "key", "value", "example_id"),
    )
    op.create_index(
        "examples_labelled",
        "examples",
        ["head_uid", "digest"],
        sqlite_where=sa.text("label IS NOT NULL"),
        postgresql_where=sa.text("label IS NOT NULL"),
    )


def _short(length: int) -> sa.String:
    return sa.String(length).with_variant(sa.Text(collation="C"), "postgresql")
