"""Base64 as clients write it, read strictly: what is damaged on the way is never decoded."""

from __future__ import annotations

import base64
import re
from urllib.parse import unquote

from service.errors import InvalidRequest

_SPACE = b" \t\r\n\f\v"
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_FROM_URL_SAFE = bytes.maketrans(b"-_", b"+/")
_DATA_URI = re.compile(r"data:[^,]*,", re.IGNORECASE)
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
# A slash alone begins no path here: base64 of every JPEG begins with one.
_PATH = re.compile(r"~|\.{1,2}[/\\]|\\\\|[A-Za-z]:[/\\]|[^\n]*\.[A-Za-z0-9]{1,12}\Z")
_SHOWN = 40


def read_base64(text: str, field: str) -> bytes:
    """Decodes base64 (RFC 4648, sections 4 and 5).

    Both alphabets, white space, missing padding and ``data:`` URIs are taken. Bits after the last
    byte must be zero, as every encoder writes them: others mean that the end was cut off.

    Raises:
        InvalidRequest: it is anything else, naming `field`.
    """
    found = _DATA_URI.match(text, 0, 200)
    if found and not found.group().lower().endswith(";base64,"):
        raise _refusal(field, text, "a data: URI must have its data in base64 (;base64,)")
    content = text
    if found:
        content = text[found.end() :]
        content = unquote(content) if "%" in content else content
    data = content.encode("utf-8", "surrogatepass").translate(None, _SPACE)
    letters = data.rstrip(b"=").translate(_FROM_URL_SAFE)
    if foreign := letters.translate(None, _LETTERS):
        raise _refusal(field, text, _about_foreign(content, foreign))
    last = len(letters) % 4
    padding = len(data) - len(letters)
    if last == 1 or padding not in (0, -len(letters) % 4):
        raise _refusal(field, text, f"{len(letters)} characters and {padding} = are no whole bytes")
    decoded = base64.b64decode(letters + b"=" * (-len(letters) % 4))
    if last and base64.b64encode(decoded[-(last - 1) :])[:last] != letters[-last:]:
        raise _refusal(field, text, "it ends within a byte: was its end cut off?")
    return decoded


def _about_foreign(content: str, foreign: bytes) -> str:
    character = foreign.decode("utf-8", "surrogatepass")[0]
    words = f"character {content.index(character) + 1} is {character!a}"
    if _ADDRESS.match(content):
        return f"{words}; it looks like an address, from which nothing is fetched: send the bytes"
    if len(content) <= 4096 and _PATH.match(content):
        return f"{words}; it looks like a path, and no file is read: send the file's bytes"
    return words


def _refusal(field: str, text: str, reason: str) -> InvalidRequest:
    shown = text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
    return InvalidRequest(
        f"{field}: must be base64, is {shown!r}: {reason}", field=field, limit="base64", value=text
    )
