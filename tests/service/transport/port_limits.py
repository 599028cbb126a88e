"""Limits of a port, small enough to be reached."""

from __future__ import annotations

from service.transport.limits import TransportLimits

MIB = 2**20
HANGS_SECONDS = 60  # what has not ended by then hangs
LIMITS = TransportLimits(
    max_message_bytes=1000,
    max_parts=50_000,
    max_connections=100,
    max_calls=100,
    head_seconds=3600,
    body_seconds=60,
    idle_seconds=3600,
)
