"""Multipart forms, taken apart: strings keep every byte, and errors are in the API's words."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from service.errors import InvalidRequest

Part = tuple[str, UploadFile | str]

_LOSSLESS = "latin-1"


@asynccontextmanager
async def form_of(request: Request, most_parts: int) -> AsyncIterator[list[Part]]:
    """Yields the parts of a form; their files are closed afterwards.

    Starlette reads a string that is no UTF-8 as Latin-1, which nobody would notice; so all are read
    as that, which loses nothing, and decoded again. Bytes that are no UTF-8 become surrogates.

    Raises:
        InvalidRequest: the body is no such form, or has too many parts.
    """
    content_type = f"{request.headers['content-type'].rstrip('; ')}; charset={_LOSSLESS}"
    parser = MultiPartParser(
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
    try:
        yield [
            (_decoded(name), value if isinstance(value, UploadFile) else _decoded(value))
            for name, value in form.multi_items()
        ]
    finally:
        await form.close()


def _decoded(text: str) -> str:
    return text.encode(_LOSSLESS).decode("utf-8", "surrogateescape")


def _refusal(error: MultiPartException, most_parts: int) -> InvalidRequest:
    if error.message.startswith("Too many"):
        return InvalidRequest(
            f"body: at most {most_parts} files and {most_parts} other parts, has more",
            field="body",
            limit=most_parts,
            value=f"more than {most_parts}",
        )
    return InvalidRequest(
        "body: must be multipart/form-data, with the boundary that the header names and a name for "
        "every part",
        field="body",
        limit="multipart",
        value="malformed",
    )
