"""``Content-Encoding: gzip``, unpacked while it arrives."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from service.errors import InvalidRequest, UnsupportedMediaType

TAKEN = "gzip, identity"
"""What a request may be encoded with."""

_NAMES = {"gzip", "x-gzip"}  # RFC 9110, section 8.4.1.3
_GZIP_WINDOW = 31


def is_packed(content_encodings: Sequence[str]) -> bool:
    """Returns whether a body is packed with gzip, by its headers ``Content-Encoding``.

    Raises:
        UnsupportedMediaType: it is packed in another way, or twice.
    """
    named = [name.strip().lower() for value in content_encodings for name in value.split(",")]
    codings = [name for name in named if name not in ("", "identity")]
    if not codings:
        return False
    if len(codings) == 1 and codings[0] in _NAMES:
        return True
    given = ", ".join(codings)
    raise UnsupportedMediaType.at(
        "content-encoding", "must be one of {limit}, is {value!r}", TAKEN, given
    )


class Unpacker:
    """Unpacks a body (RFC 1952; one member after another), and never more than is asked for."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._begun = False

    def unpack(self, packed: bytes, most: int) -> tuple[bytes, bytes | None]:
        """Returns at most `most` bytes that these unpack to, and what to go on with, if at all.

        Raises:
            InvalidRequest: they are no gzip.
        """
        parts: list[bytes] = []
        left = most
        while left > 0:
            if self._member.eof:
                if not packed:
                    return b"".join(parts), None
                self._member = zlib.decompressobj(_GZIP_WINDOW)
            self._begun = self._begun or bool(packed)
            try:
                parts.append(self._member.decompress(packed, left))
            except zlib.error as error:
                raise _refusal("it is damaged, or something else") from error
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
            raise _refusal("its end is missing")


def _refusal(reason: str) -> InvalidRequest:
    return InvalidRequest.at(
        "body", "must be gzip, as its Content-Encoding says: {value}", "gzip", reason
    )
