"""Digests: what an input is called within one tenant.

A digest is the BLAKE3 hash of an input's bytes as 64 lower-case hexadecimal digits. Each kind of
input hashes under a derivation context of its own (BLAKE3, section 2.3, `derive_key` mode), so that
an image and a text with the same bytes never share a digest.
"""

import re
from collections.abc import Sequence

from blake3 import blake3

Bytes = bytes | bytearray | memoryview

_DIGEST = re.compile(r"[0-9a-fA-F]{64}")


def image_digest(data: Bytes) -> str:
    """Returns the digest of an encoded image (the file's bytes, not its pixels)."""
    return _digest("trunkline v1 image", data)


def text_digest(text: str | Bytes) -> str:
    """Returns the digest of a text, given as a string or as its UTF-8 bytes.

    Raises `UnicodeEncodeError` for a string with lone surrogates, which has no UTF-8 form.
    """
    return _digest("trunkline v1 text", text.encode() if isinstance(text, str) else text)


def pixels_digest(shape: Sequence[int], data: Bytes) -> str:
    """Returns the digest of RGB pixels: `shape` (height, width, 3), `data` uint8 and row-major.

    Raises `ValueError` if the shape is another one, or does not fit the length of the data.
    """
    if len(shape) != 3 or shape[2] != 3:
        raise ValueError(f"pixels must have shape [height, width, 3], got {list(shape)}")
    height, width, _ = shape
    given = memoryview(data).nbytes
    if height * width * 3 != given:
        raise ValueError(
            f"pixels of shape {list(shape)} need {height * width * 3} bytes, got {given}"
        )
    return _digest("trunkline v1 pixels", f"{height}x{width}x3\n".encode(), data)


def embedding_digest(fingerprint: str, data: Bytes) -> str:
    """Returns the digest of an embedding under `fingerprint`; `data` is little-endian float32."""
    return _digest("trunkline v1 embedding", f"{fingerprint}\n".encode(), data)


def is_digest(text: str) -> bool:
    """Returns whether `text` has the form of a digest: 64 hexadecimal digits, in either case."""
    return _DIGEST.fullmatch(text) is not None


def _digest(context: str, *parts: Bytes) -> str:
    hasher = blake3(derive_key_context=context)
    for part in parts:
        hasher.update(part)
    return hasher.hexdigest()
