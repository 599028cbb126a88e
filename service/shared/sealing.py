"""What a tenant has in a shared cache: under names that tell nothing, and sealed.

AES-GCM (NIST SP 800-38D) in place of a checksum: nobody who lacks the tenant's secrets can read a
value, or make one that is taken for it, and one that lies under another name is none.
"""

from __future__ import annotations

import os

from blake3 import blake3
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from service.store.cache_secrets import CacheSecrets, slot_of

PREFIX = b"trunkline:"
FORM = b"\x01"
"""Of a value; another release with another one puts its own in its place."""

_NONCE_BYTES = 12
_NAME_BYTES = 16
_NAMES = "trunkline v1 names in a shared cache"
_VALUES = "trunkline v1 values in a shared cache"


class Seal:
    """Names and seals what belongs to one tenant."""

    def __init__(self, secrets: CacheSecrets) -> None:
        self._secrets = secrets
        self._slots: dict[int, tuple[bytes, AESGCM]] = {}

    def name(self, fingerprint: str, digest: str) -> bytes:
        """Returns the key that the embedding of an input or view lies under."""
        secret, _ = self._slot(digest)
        of = f"{fingerprint}/{digest}".encode()
        return PREFIX + b"e:" + blake3(of, key=secret).hexdigest(_NAME_BYTES).encode()

    def common_name(self, kind: str) -> bytes:
        """Returns a key for something of the tenant that is not sealed."""
        return PREFIX + kind.encode() + b":" + self._secrets.tag.hex().encode()

    def close(self, name: bytes, digest: str, data: bytes) -> bytes:
        """Seals data to lie under a name."""
        nonce = os.urandom(_NONCE_BYTES)
        return FORM + nonce + self._slot(digest)[1].encrypt(nonce, data, FORM + name)

    def open(self, name: bytes, digest: str, value: object) -> bytes | None:
        """Returns what was sealed to lie under a name; None if that is not what the value is."""
        start = len(FORM) + _NONCE_BYTES
        if not isinstance(value, bytes) or not value.startswith(FORM) or len(value) < start:
            return None
        cipher = self._slot(digest)[1]
        try:
            return cipher.decrypt(value[len(FORM) : start], value[start:], FORM + name)
        except InvalidTag:
            return None

    def _slot(self, digest: str) -> tuple[bytes, AESGCM]:
        slot = slot_of(digest)
        found = self._slots.get(slot)
        if found is None:
            secret = self._secrets.slots[slot]
            cipher = AESGCM(blake3(secret, derive_key_context=_VALUES).digest())
            found = blake3(secret, derive_key_context=_NAMES).digest(), cipher
            self._slots[slot] = found
        return found
