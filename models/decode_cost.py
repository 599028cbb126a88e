"""What decoding an input takes, told before it is decoded: for queues that share out threads."""

from __future__ import annotations

from models.backbone import RawInput
from models.image_files import decode_ns

TEXT_BYTE_NS = 1500
"""A WordPiece tokenizer's time for a byte of UTF-8, whatever its length and script."""
TENSOR_PIXEL_NS = 10
_LEAST_NS, _MOST_NS = 1000, 10_000_000_000


def decode_cost(raw: RawInput) -> int:
    """Return about how many nanoseconds one core takes to decode an input: 1e3 to 1e10.

    It is told from an image's header and from lengths, in some microseconds, and a third of a
    nanosecond for each byte of a JPEG; many parts take up to some milliseconds. It need not be
    right on another machine: what counts is that what takes longer costs more. Raises nothing.
    """
    return min(_MOST_NS, _LEAST_NS + _nanoseconds(raw))


def _nanoseconds(raw: RawInput) -> int:
    if isinstance(raw, bytes):
        return decode_ns(raw)
    if isinstance(raw, str):
        return TEXT_BYTE_NS * (len(raw) if raw.isascii() else 4 * len(raw))
    return TENSOR_PIXEL_NS * int(raw.shape[0]) * int(raw.shape[1])
