"""The text of a key: ``tlk_``, 27 characters of 160 random bits, 6 of a checksum.

The prefix lets scanners for leaked secrets find it, and the checksum (CRC-32 of what stands before
it) lets them, and the server, tell it from what only looks so.
"""

from __future__ import annotations

import hashlib
import secrets
import string
import zlib

PREFIX = "tlk_"
RANDOM_BITS = 160
HASH_BYTES = 32

_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_RANDOM_CHARACTERS = 27  # 62 ** 27 > 2 ** 160
_CHECKSUM_CHARACTERS = 6  # 62 ** 6 > 2 ** 32
_LENGTH = len(PREFIX) + _RANDOM_CHARACTERS + _CHECKSUM_CHARACTERS


def new_text() -> str:
    """Returns the text of a new key."""
    text = PREFIX + _base62(secrets.randbits(RANDOM_BITS), _RANDOM_CHARACTERS)
    return text + _checksum(text)


def is_text(text: str) -> bool:
    """Returns whether it is of the form of a key, its checksum included."""
    body, checksum = text[:-_CHECKSUM_CHARACTERS], text[-_CHECKSUM_CHARACTERS:]
    return (
        len(text) == _LENGTH
        and text.isascii()
        and text.startswith(PREFIX)
        and checksum == _checksum(body)
    )


def hash_of(text: str) -> bytes:
    """Returns what the store holds of a key: its SHA-256, of 32 bytes.

    A slow hash is for what people make up; 160 random bits are not to be guessed.
    """
    return hashlib.sha256(text.encode(errors="replace")).digest()


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), _CHECKSUM_CHARACTERS)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, len(_ALPHABET))
        digits.append(_ALPHABET[digit])
    return "".join(reversed(digits))
