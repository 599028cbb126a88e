"""Digests beside the weights of versions, and checksums beside new embeddings.

Embeddings that are there already get none: to write one beside each would write all of them anew.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from service.store.digests import weights_digest

revision = "0008"
down_revision = "0007"

_VERSIONS = sa.table(
    "versions",
    sa.column("head_uid"),
    sa.column("version"),
    sa.column("safetensors"),
    sa.column("digest"),
)


def upgrade() -> None:
    # Added without a copy of the table, which would hold all weights twice.
    op.execute("ALTER TABLE versions ADD COLUMN digest VARCHAR(64)")
    op.execute("ALTER TABLE embeddings ADD COLUMN crc32 INTEGER")
    connection, table = op.get_bind(), _VERSIONS.c
    for uid, version in connection.execute(sa.select(table.head_uid, table.version)).all():
        here = (table.head_uid == uid, table.version == version)
        data = connection.scalar(sa.select(table.safetensors).where(*here))
        connection.execute(
            sa.update(_VERSIONS).where(*here).values(digest=weights_digest(bytes(data or b"")))
        )
