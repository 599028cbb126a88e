"""The tables. Changing them needs a migration in ``migrations/versions``."""

from __future__ import annotations

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

tenants = Table(
    "tenants",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", String(63), nullable=False, unique=True),
    Column("created_at", Float, nullable=False),
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
    Column("last_version", Integer, nullable=False, default=0),
    Column("created_at", Float, nullable=False),
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
)

# One vector per tenant, backbone and input, shared by all heads of the tenant.
embeddings = Table(
    "embeddings",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("tenant_id", ForeignKey("tenants.id"), nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("vector", LargeBinary, nullable=False),
    UniqueConstraint("tenant_id", "fingerprint", "digest"),
)

examples = Table(
    "examples",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("head_uid", ForeignKey("heads.uid"), nullable=False),
    Column("digest", String(64), nullable=False),
    Column("kind", String(16), nullable=False),
    Column("label", Text),
    Column("source", String(16), nullable=False),
    Column("input", LargeBinary),
    Column("created_at", Float, nullable=False),
    UniqueConstraint("head_uid", "digest"),
    Index("examples_by_digest", "digest"),
    sqlite_autoincrement=True,
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
    UniqueConstraint("head_uid", "feedback_id"),
    sqlite_autoincrement=True,
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("head_uid", ForeignKey("heads.uid"), nullable=False),
    Column("state", String(16), nullable=False),
    Column("spec", Text, nullable=False),
    Column("activate", Boolean, nullable=False),
    Column("version", Integer, nullable=False, default=0),
    Column("error_code", String(32), nullable=False, default=""),
    Column("error_message", Text, nullable=False, default=""),
    Column("created_at", Float, nullable=False),
    Column("ended_at", Float),
    Index("jobs_by_head", "head_uid"),
    Index("jobs_by_state", "state"),
)
