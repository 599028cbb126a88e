"""PostgreSQL: texts that go by their bytes, integers of 64 bits, and a reader of JSON's parts.

SQLite has all of it. A later migration that adds a column gives it the types of `store.schema`.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"

_TABLES = {
    *("tenants", "usage", "access_keys", "heads", "versions", "tails", "members", "embeddings"),
    *("examples", "feedback", "jobs", "audit", "changes", "servers"),
}
_JSON_PART = """
CREATE FUNCTION trunkline_json_part(document text, name text) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE AS $$ BEGIN
    RETURN document::json ->> name;
EXCEPTION WHEN OTHERS THEN
    RETURN NULL;
END $$
"""


def upgrade() -> None:
    connection = op.get_bind()
    if connection.dialect.name != "postgresql":
        return
    op.execute(_JSON_PART)
    inspector = sa.inspect(connection)
    for table in sorted(_TABLES.intersection(inspector.get_table_names())):
        for column in inspector.get_columns(table):
            kind, name = column["type"], column["name"]
            if isinstance(kind, sa.String):
                op.alter_column(table, name, type_=sa.Text(collation="C"))
            elif isinstance(kind, sa.Integer):
                op.alter_column(table, name, type_=sa.BigInteger())
                owned = sa.func.pg_get_serial_sequence(table, name)
                if sequence := connection.scalar(sa.select(owned)):
                    op.execute(f"ALTER SEQUENCE {sequence} AS bigint")
