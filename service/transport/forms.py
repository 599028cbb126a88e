"""Multipart forms, taken apart: strings keep every byte, and errors are in the API's words."""

from __future__ import annotations

import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.errors import InvalidRequest

MAX_PARTS = 10_000
Part = tuple[str, UploadFile | str]

_LOSSLESS = "latin-1"
_AS_IT_IS = ("7bit", "8bit", "binary")  # RFC 2045, section 6.2
_CHARSET = re.compile("charset=[\"']?([^\"';\\s]*)")
_UTF_8 = ("utf-8", "utf8", "us-ascii", "")


def is_form(request: Request) -> bool:
    """Whether a request says that its body is a multipart form."""
    content_type = request.headers.get("content-type", "").split(";")[0].strip().lower()
    return content_type == "multipart/form-data"


@asynccontextmanager
async def form_of(request: Request, most_parts: int = MAX_PARTS) -> AsyncIterator[list[Part]]:
    """Yields the parts of a form; their files are closed afterwards.

    Starlette reads a string that is no UTF-8 as Latin-1, which nobody would notice; so all are read
    as that, which loses nothing, and decoded again. Bytes that are no UTF-8 become surrogates.

    Raises:
        InvalidRequest: the body is no such form, or has too many parts.
    """
    content_type = f"{request.headers['content-type'].rstrip('; ')}; charset={_LOSSLESS}"
    parser = _WholeForms(
        Headers({"content-type": content_type}),
        request.stream(),
        max_files=most_parts,
        max_fields=most_parts,
        max_part_size=sys.maxsize,  # the whole body is bounded
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise _refusal(error, most_parts) from error
    if not parser.ended:
        await form.close()
        raise _malformed("its last boundary is missing: was its end cut off?")
    try:
        yield [
            (_decoded(name), value if isinstance(value, UploadFile) else _decoded(value))
            for name, value in form.multi_items()
        ]
    finally:
        await form.close()


class _Refused(MultiPartException):
    """What Starlette would take."""


class _WholeForms(MultiPartParser):
    """Notices whether a form's end came, and refuses parts whose bytes would be taken for others.

    Starlette leaves out the part that a body ends in, and reads no encoding of a part.

    Attributes:
        ended: whether the last boundary was there.
    """

    ended = False
    spool_max_size = sys.maxsize  # in memory, where its bytes are counted: files are few

    def on_headers_finished(self) -> None:
        for name, value in self._current_part.item_headers:
            said = value.decode(_LOSSLESS).strip().lower()
            if name == b"content-transfer-encoding" and said not in _AS_IT_IS:
                raise _Refused(f"no part may be in {said[:20]} (Content-Transfer-Encoding)")
            charset = _CHARSET.search(said) if name == b"content-type" else None
            if charset and charset[1] not in _UTF_8:
                raise _Refused(f"texts must be in UTF-8, a part says {charset[1][:20]}")
        super().on_headers_finished()

    def on_end(self) -> None:
        self.ended = True
        super().on_end()


def _decoded(text: str) -> str:
    return text.encode(_LOSSLESS).decode("utf-8", "surrogateescape")


def _refusal(error: MultiPartException, most_parts: int) -> InvalidRequest:
    if isinstance(error, _Refused):
        return _malformed(error.message)
    if error.message.startswith("Too many"):
        return InvalidRequest(
            f"body: at most {most_parts} files and {most_parts} other parts, has more",
            field="body",
            limit=most_parts,
            value=f"more than {most_parts}",
        )
    return _malformed("with the boundary that the header names and a name for every part")


def _malformed(reason: str) -> InvalidRequest:
    return InvalidRequest(
        f"body: must be multipart/form-data: {reason}",
        field="body",
        limit="multipart",
        value="malformed",
    )
