"""Pages of lists, and the tokens that name them."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Any

from service.errors import InvalidRequest

DEFAULT_PAGE = 100

MAX_PAGE = 1000

_HASH_BYTES = hashlib.blake2b.MAX_DIGEST_SIZE
_TAG_BYTES = 16
_INT_BYTES = 8
_MAX_KEY_BYTES = 128


def page_size(wanted: int) -> int:
    """Returns how many items a page has.

    Raises:
        InvalidRequest: more than the largest page.
    """
    if wanted > MAX_PAGE:
        raise InvalidRequest.at("page_size", "at most {limit}, is {value}", MAX_PAGE, wanted)
    return wanted or DEFAULT_PAGE


class PageTokens:
    """Writes and reads tokens that say nothing, and are good for one list alone.

    What a page begins after is in part a row's number in a table of all tenants, which would tell
    each how much the others store. So it is encrypted and authenticated together with the list's
    name, with a synthetic initialisation vector (SIV; Rogaway and Shrimpton, 2006) of keyed BLAKE2.

    Args:
        key: 32 to 64 bytes that no client knows.
    """

    def __init__(self, key: bytes) -> None:
        self._key = key

    def use(self, key: bytes) -> None:
        """Takes another key, which servers have in common."""
        self._key = key

    def write(self, name: str, after: str | int) -> str:
        """Returns the token of the page that begins after this key.

        Args:
            name: name of the list, as in ``examples/{uid of the head}``.
            after: from 0 to 2**63 - 1, or at most 128 bytes of UTF-8.
        """
        plain = after.encode() if isinstance(after, str) else after.to_bytes(_INT_BYTES, "big")
        tag = self._tag(name, plain)
        return base64.urlsafe_b64encode(tag + self._masked(tag, plain)).decode()

    def read(self, name: str, token: str, kind: type[str] | type[int]) -> Any:
        """Returns the key in a page token, or the first key if the token is empty.

        Raises:
            InvalidRequest: no page of this list gave this token.
        """
        if not token:
            return kind()
        try:
            sealed = base64.urlsafe_b64decode(token.encode())
        except (ValueError, binascii.Error):
            sealed = b""
        tag, masked = sealed[:_TAG_BYTES], sealed[_TAG_BYTES:]
        plain = self._masked(tag, masked[:_MAX_KEY_BYTES])
        if not hmac.compare_digest(tag, self._tag(name, plain)):
            raise InvalidRequest.at(
                "page_token",
                "must come from an earlier page of this list, is {value!r}; begin without one",
                "from an earlier page",
                token,
            )
        return plain.decode() if kind is str else int.from_bytes(plain, "big")

    def _tag(self, name: str, plain: bytes) -> bytes:
        text = f"{len(name)} {name} ".encode() + plain
        return self._hash(b"tag", text, _TAG_BYTES)

    def _masked(self, tag: bytes, text: bytes) -> bytes:
        mask = b""
        while len(mask) < len(text):  # of one hash, or of several with their numbers
            number = bytes([len(mask) // _HASH_BYTES]) if mask else b""
            mask += self._hash(b"mask", tag + number, min(len(text) - len(mask), _HASH_BYTES))
        return bytes(a ^ b for a, b in zip(text, mask, strict=True))

    def _hash(self, use: bytes, text: bytes, size: int) -> bytes:
        return hashlib.blake2b(text, digest_size=size, key=self._key, person=use).digest()
