"""``Content-Encoding``: gzip and deflate, unpacked while they arrive."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from service.errors import InvalidRequest, UnsupportedMediaType

TAKEN = "gzip, deflate, identity"
"""What a request may be encoded with."""

_NAMES = {"gzip": "gzip", "x-gzip": "gzip", "deflate": "deflate"}  # RFC 9110, section 8.4.1
_WINDOWS = {"gzip": 31, "deflate": 15}
"""zlib's word for the form: of "deflate" that is zlib's own (RFC 1950)."""


def coding_of(content_encodings: Sequence[str]) -> str:
    """Returns how a body is packed, by its headers ``Content-Encoding``; "" if it is not.

    Raises:
        UnsupportedMediaType: it is packed in another way, or twice.
    """
    named = [name.strip().lower() for value in content_encodings for name in value.split(",")]
    codings = [name for name in named if name not in ("", "identity")]
    if not codings:
        return ""
    if len(codings) == 1 and codings[0] in _NAMES:
        return _NAMES[codings[0]]
    given = ", ".join(codings)
    raise UnsupportedMediaType.at(
        "content-encoding", "must be one of {limit}, is {value!r}", TAKEN, given
    )


class Unpacker:
    """Unpacks a body, and never more than is asked for.

    One of gzip may have one member after another (RFC 1952).

    Args:
        coding: "gzip" or "deflate".
    """

    def __init__(self, coding: str = "gzip") -> None:
        self._coding = coding
        self._member = zlib.decompressobj(_WINDOWS[coding])
        self._begun = False

    def unpack(self, packed: bytes, most: int) -> tuple[bytes, bytes | None]:
        """Returns at most `most` bytes that these unpack to, and what to go on with, if at all.

        Raises:
            InvalidRequest: they are nothing of the kind.
        """
        parts: list[bytes] = []
        left = most
        while left > 0:
            if self._member.eof:
                if not packed:
                    return b"".join(parts), None
                if self._coding == "deflate":
                    raise self._refusal("something follows its end")
                self._member = zlib.decompressobj(_WINDOWS[self._coding])
            self._begun = self._begun or bool(packed)
            try:
                parts.append(self._member.decompress(packed, left))
            except zlib.error as error:
                raise self._refusal("it is damaged, or something else") from error
            left -= len(parts[-1])
            packed = self._member.unused_data or self._member.unconsumed_tail
            if not packed and left > 0:
                return b"".join(parts), None
        return b"".join(parts), packed  # also without any: zlib may hold output back

    def end(self) -> None:
        """Checks that the body is complete.

        Raises:
            InvalidRequest: its end is missing.
        """
        if self._begun and not self._member.eof:
            raise self._refusal("its end is missing")

    def _refusal(self, reason: str) -> InvalidRequest:
        return InvalidRequest.at(
            "body", "must be {limit}, as its Content-Encoding says: {value}", self._coding, reason
        )
