"""Digests that lie beside what is stored: a disk that changes a bit is noticed when it is read."""

from __future__ import annotations

import zlib

from blake3 import blake3

_CONTEXT = "trunkline v1 stored weights"


def weights_digest(data: bytes) -> str:
    """Returns 64 hex digits over a version's safetensors file."""
    return blake3(data, derive_key_context=_CONTEXT).hexdigest()


def vector_checksum(data: bytes) -> int:
    """Returns the CRC-32 of a stored embedding: it finds every change of up to 32 bits in a row.

    A digest would take as long as reading the embedding; this takes microseconds
    (https://www.rfc-editor.org/rfc/rfc1952, section 8).
    """
    return zlib.crc32(data)
