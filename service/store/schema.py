"""The tables. Changing them needs a migration in ``migrations/versions``."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import sqlalchemy
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    LargeBinary,
    MetaData,
    Table,
    UniqueConstraint,
    false,
    text,
)

metadata = MetaData()

# PostgreSQL compares and orders texts as its database says, and its integers may be short: both are
# as SQLite has them, where texts go by their bytes.
Integer = BigInteger().with_variant(sqlalchemy.Integer(), "sqlite")
Text = sqlalchemy.Text().with_variant(sqlalchemy.Text(collation="C"), "postgresql")


def String(length: int) -> sqlalchemy.String:
    """Returns the type of texts that are checked to be no longer, wherever they come from."""
    return sqlalchemy.String(length).with_variant(sqlalchemy.Text(collation="C"), "postgresql")


tenants = Table(
    "tenants",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
    # What it may use; null for the server's default, 0 for no bound.
    Column("quota_cost_per_second", Float),
    Column("quota_cost_burst", Float),
    Column("quota_rows_in_flight", Integer),
    Column("quota_examples", Integer),
    Column("quota_stored_bytes", Integer),
    # Examples of its heads, and bytes of its inputs, embeddings, weights and tails: triggers count
    # them, in the transaction that changes them.
    Column("examples", Integer, nullable=False, server_default="0"),
    Column("stored_bytes", Integer, nullable=False, server_default="0"),
)

# What tenants used, by the hour, which is given by its first second since 1970.
usage = Table(
    "usage",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("hour", Integer, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("cached_rows", Integer, nullable=False),
    Column("cost", Float, nullable=False),
    Column("device_seconds", Float, nullable=False),
    Column("input_bytes", Integer, nullable=False),
    UniqueConstraint("tenant_id", "hour"),
    Index("usage_by_hour", "hour"),
    sqlite_autoincrement=True,
)

# What a tenant's embeddings are sealed with in a cache that servers share; made when it is used.
cache_secrets = Table(
    "cache_secrets",
    metadata,
    Column("tenant_id", ForeignKey("tenants.id"), primary_key=True),
    Column("tag", LargeBinary, nullable=False),
    Column("slots", LargeBinary, nullable=False),
)

# What callers show. An operator's key has no tenant. Named so, as `keys` is a word of some SQL.
access_keys = Table(
    "access_keys",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("id", String(32), nullable=False, unique=True),
    # SHA-256 of the key's text, which is nowhere.
    Column("hash", LargeBinary, nullable=False, unique=True),
    Column("tenant_id", ForeignKey("tenants.id")),
    # Names of roles, and patterns of heads; joined by commas.
    Column("roles", Text, nullable=False),
    Column("heads", Text, nullable=False),
    Column("note", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
    # The beginning of the hour in which it was used last.
    Column("used_at", Float),
    sqlite_autoincrement=True,
)

heads = Table(
    "heads",
    metadata,
    Column("uid", String(32), primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("name", String(63), nullable=False),
    Column("backbone", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("spec", Text, nullable=False),
    Column("keep_inputs", Boolean, nullable=False),
    Column("active_version", Integer, nullable=False, default=0),
    # The one that was active before; 0 for none. It may be gone.
    Column("previous_version", Integer, nullable=False, server_default="0"),
    Column("last_version", Integer, nullable=False, default=0),
    Column("created_at", Float, nullable=False),
    Column("policy", String(16), nullable=False, server_default="gated"),
    Column("allow_new_labels", Boolean, nullable=False, server_default=false()),
    # Since a change in the stream, the live copy is built on feedback from this id on.
    Column("drift_feedback_id", Integer),
    Column("drift_at", Float),
    # How often examples of it were forgotten: what has read them before is no good any more.
    Column("forgettings", Integer, nullable=False, server_default="0"),
    # What is wanted of answers that are accepted, as JSON; null for a head that decides nothing.
    Column("decide", Text),
    # What of its traffic is kept, as JSON; null for nothing.
    Column("capture", Text),
    UniqueConstraint("tenant_id", "name"),
)

versions = Table(
    "versions",
    metadata,
    Column("head_uid", ForeignKey("heads.uid"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("source", String(16), nullable=False),
    Column("labels", Text, nullable=False),
    Column("report", Text, nullable=False),
    Column("example_count", Integer, nullable=False),
    Column("safetensors", LargeBinary, nullable=False),
    Column("created_at", Float, nullable=False),
    # What it was trained for; the head itself may have moved on to another.
    Column("backbone", Text, nullable=False),
    Column("base_fingerprint", String(64), nullable=False),
    # Fingerprint of the tail whose embeddings it takes; null for those of the backbone.
    Column("tail", String(64)),
    # `digests.weights_digest` of the weights; what has none is damaged.
    Column("digest", String(64)),
    Column("pinned", Boolean, nullable=False, server_default=false()),
)

# Fine-tuned blocks, one row for all versions of a head that run on them. They go with the last.
tails = Table(
    "tails",
    metadata,
    Column("head_uid", ForeignKey("heads.uid"), primary_key=True),
    Column("fingerprint", String(64), primary_key=True),
    Column("strategy", String(16), nullable=False),
    Column("blocks", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("safetensors", LargeBinary, nullable=False),
)

# What a version knows, as `store.members` packs it: digests of the examples that it was trained on,
# followed by those that only its base knew; labels of the former.
members = Table(
    "members",
    metadata,
    Column("head_uid", ForeignKey("heads.uid"), primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("digests", LargeBinary, nullable=False),
    Column("labels", LargeBinary, nullable=False),
)

# One vector per tenant, backbone or tail, and input, shared by all heads of the tenant.
embeddings = Table(
    "embeddings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("vector", LargeBinary, nullable=False),
    # Whether it was made of a text that is longer than the backbone's window.
    Column("truncated", Boolean, nullable=False, server_default=false()),
    # `digests.vector_checksum` of the vector; null where it was stored by an earlier release.
    Column("crc32", Integer),
    UniqueConstraint("tenant_id", "fingerprint", "digest"),
)

examples = Table(
    "examples",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("head_uid", ForeignKey("heads.uid"), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    # What counts: the last label that was given and is not in quarantine.
    Column("label", Text),
    Column("source", String(16), nullable=False),
    Column("input", LargeBinary),
    Column("created_at", Float, nullable=False),
    # What an upload or an update said: the label to go back to when feedback is put in quarantine.
    Column("own_label", Text),
    Column("weight", Float, nullable=False, server_default="1"),
    Column("held_out", Boolean, nullable=False, server_default=false()),
    # What it belongs to: examples of one group are held out together. Null for those of none.
    Column("group", Text),
    # The caller's own name for it; null for those without one.
    Column("external_id", Text),
    # Id of the key by which somebody said in a review that it has its own label; null for others.
    Column("reviewer", String(32)),
    UniqueConstraint("head_uid", "digest"),
    Index("examples_by_digest", "digest"),
    # Of those that have one, so that no other question is answered by it.
    Index(
        "examples_by_external_id",
        "head_uid",
        "external_id",
        sqlite_where=text("external_id IS NOT NULL"),
        postgresql_where=text("external_id IS NOT NULL"),
    ),
    # Of those with a label: whoever compares inputs with all of them needs no more.
    Index(
        "examples_labelled",
        "head_uid",
        "digest",
        sqlite_where=text("label IS NOT NULL"),
        postgresql_where=text("label IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)

# What callers say of their examples beside its name; a pair goes with its example.
example_metadata = Table(
    "example_metadata",
    metadata,
    Column("example_id", ForeignKey("examples.id", ondelete="CASCADE"), primary_key=True),
    Column("key", String(64), primary_key=True),
    Column("value", Text, nullable=False),
    # The example's, so that a pair is looked up within a head.
    Column("head_uid", String(32), nullable=False),
    Index("example_metadata_by_pair", "head_uid", "key", "value", "example_id"),
)

feedback = Table(
    "feedback",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("head_uid", ForeignKey("heads.uid"), nullable=False),
    Column("feedback_id", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("label", Text, nullable=False),
    Column("active_version", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    # "live", "learned", "quarantined" or "superseded".
    Column("state", String(16), nullable=False, server_default="live"),
    # Whether each was right before it was learned; null until then, or where there was none.
    Column("active_right", Boolean),
    Column("live_right", Boolean),
    UniqueConstraint("head_uid", "feedback_id"),
    Index("feedback_by_digest", "head_uid", "digest"),
    Index("feedback_by_state", "head_uid", "state"),
    sqlite_autoincrement=True,
)

# Inputs of the traffic that are kept for people to look at, with the answers they got. They are no
# examples: nothing is trained or measured on them.
captures = Table(
    "captures",
    metadata,
    Column("number", Integer, primary_key=True),
    # Drawn at random; that of the feedback which a judgement is, too.
    Column("id", String(32), nullable=False, unique=True),
    Column("head_uid", ForeignKey("heads.uid"), nullable=False),
    # What answered, and whether it was the live copy that moved on from it.
    Column("version", Integer, nullable=False),
    Column("live", Boolean, nullable=False),
    # "" once nothing of the input is kept.
    Column("digest", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    # "random", "conformal", "uncertain", "novel" or "always".
    Column("reason", String(16), nullable=False),
    # Whether it was drawn whatever the answer, and how likely that was; null where it was not.
    Column("sampled_at_random", Boolean, nullable=False),
    Column("chance", Float),
    # The most probable class, its probability, and by how much it is above the next.
    Column("predicted", Text, nullable=False),
    Column("confidence", Float, nullable=False),
    Column("margin", Float, nullable=False),
    # Labels and probabilities, the most probable first, as JSON.
    Column("answer", Text, nullable=False),
    Column("novelty", Float),
    # The caller's own name for it, and what else was said of it, as a JSON object.
    Column("external_id", Text),
    Column("metadata", Text),
    # Of the embedding that was scored.
    Column("fingerprint", String(64), nullable=False),
    # Bytes of the input.
    Column("size", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    # Null once nothing of the input is kept.
    Column("expires_at", Float),
    # `captures.CaptureState`.
    Column("state", String(16), nullable=False, server_default="waiting"),
    # What somebody said it is, when, and with which key.
    Column("judged_label", Text),
    Column("judged_at", Float),
    Column("judged_by", String(32)),
    # Who is looking at it, and until when nobody else is asked.
    Column("leased_by", String(64)),
    Column("leased_until", Float),
    # The example of the input as it was before somebody gave it a label, as JSON; null without one.
    Column("before", Text),
    # Last, so that the rest is read without it.
    Column("input", LargeBinary),
    Index("captures_by_digest", "digest"),
    Index("captures_by_time", "head_uid", "created_at", "sampled_at_random"),
    Index("captures_by_state", "head_uid", "state"),
    Index("captures_by_end", "head_uid", "expires_at", "size"),
    Index("captures_by_expiry", "expires_at"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("head_uid", ForeignKey("heads.uid"), nullable=False),
    Column("state", String(16), nullable=False),
    Column("spec", Text, nullable=False),
    # Null: unless that would replace a version with an estimate by one without.
    Column("activate", Boolean),
    # Why the version did not become the active one; null where it did.
    Column("inactive_reason", Text),
    Column("version", Integer, nullable=False, default=0),
    # Numbers of those that had to go for it, joined by commas; null for none.
    Column("removed_versions", Text),
    Column("error_code", String(32), nullable=False, default=""),
    Column("error_message", Text, nullable=False, default=""),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
    # Where the head is to move; null to stay.
    Column("backbone", Text),
    # Session of the server that runs it; null where one server has the store.
    Column("claimed_by", String(32)),
    # Those of its head when it began to read examples; null until then.
    Column("forgettings", Integer),
    Index("jobs_by_head", "head_uid"),
    Index("jobs_by_state", "state"),
)

# What was changed, and who was refused. A tenant is named, not referred to: rows outlive it.
audit = Table(
    "audit",
    metadata,
    Column("number", Integer, primary_key=True),
    Column("at", Float, nullable=False),
    # Id of the key; "" where none was shown, or none that is good.
    Column("key", String(32), nullable=False),
    Column("tenant", String(63), nullable=False),
    Column("method", String(64), nullable=False),
    Column("resource", Text, nullable=False),
    Column("outcome", String(32), nullable=False),
    Column("request_id", String(32), nullable=False),
    Column("transport", String(8), nullable=False),
    Column("peer", String(128), nullable=False),
    # Refusals before it that were not kept.
    Column("dropped", Integer, nullable=False),
    Index("audit_by_time", "at"),
    Index("audit_by_tenant", "tenant", "number"),
    sqlite_autoincrement=True,
)

# What servers that share the store hold in memory and is not right any more, numbered in the order
# of the commits; the oldest rows go. A store in a file that one process serves has none.
changes = Table(
    "changes",
    metadata,
    Column("number", Integer, primary_key=True),
    # Who wrote it.
    Column("server", String(63), nullable=False),
    # `Changed` as JSON.
    Column("changed", Text, nullable=False),
    Column("at", Float, nullable=False),
    sqlite_autoincrement=True,
)

# The servers that share the store; SQLite's need none.
servers = Table(
    "servers",
    metadata,
    Column("name", String(63), primary_key=True),
    # Drawn at each start.
    Column("session", String(32)),
    # By the clock of the database.
    Column("started_at", Float, nullable=False),
    Column("lease_ends_at", Float, nullable=False),
    # Number of the change up to which it knows all.
    Column("confirmed", Integer, nullable=False, server_default="0"),
)

# What servers that share the store have in common, and nobody else knows; a file's are beside it.
secrets = Table(
    "secrets",
    metadata,
    Column("name", String(32), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)


def lacking(columns: Callable[[str], set[str]]) -> Iterator[str]:
    """Yields the tables, or their columns, that a store lacks.

    Args:
        columns: gives the names of those that a table has; none if the table is not there.
    """
    for table in metadata.sorted_tables:
        there = columns(table.name)
        if not there:
            yield f"table {table.name}"
            continue
        for column in table.columns:
            if column.name not in there:
                yield f"column {column.name} of table {table.name}"


def columns_of(table: str) -> str:
    """Returns a statement whose rows have the names of a table's columns in second place."""
    return f"PRAGMA table_info({table})"
