"""The console: the files of ``console/``, which a browser runs as they are, under ``/console``."""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from trunkline.html_report.style import STYLE

CONSOLE = "/console"
CONSOLE_FOLDER = CONSOLE + "/"
"""Below it are files that are the same for everybody."""

_FOLDER = Path(__file__).parents[3] / "console"
_START = "index.html"
_MEDIA_TYPES: Mapping[str, str] = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}
# The style of the report pages, which open inside, is known by its hash.
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "script-src 'self'; connect-src 'self'; img-src 'self' data: blob:; "
    # Nothing that is a string becomes markup, but for the server's own report pages.
    f"style-src 'self' 'sha256-{_STYLE_HASH}'; "
    "require-trusted-types-for 'script'; trusted-types report"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    # A new release is seen at once; what has not changed is not sent again.
    "Cache-Control": "no-cache",
}


@dataclass(frozen=True)
class _File:
    body: bytes
    media_type: str
    etag: str


def console_routes() -> list[Route]:
    """Returns the routes of the console's page and of its files."""
    return [Route(CONSOLE, _file), Route(CONSOLE_FOLDER + "{path:path}", _file)]


@functools.cache
def _files() -> Mapping[str, _File]:
    """Reads all there is, once: what is asked for is looked up, and names no path of the disk."""
    found = {}
    for path in sorted(_FOLDER.rglob("*")):
        if path.suffix in _MEDIA_TYPES and path.is_file():
            body = path.read_bytes()
            etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
            name = path.relative_to(_FOLDER).as_posix()
            found[name] = _File(body, _MEDIA_TYPES[path.suffix], etag)
    return found


async def _file(request: Request) -> Response:
    file = _files().get(request.path_params.get("path", _START))
    if file is None:
        raise HTTPException(404)
    headers = {**_HEADERS, "ETag": file.etag}
    known = [tag.strip().removeprefix("W/") for tag in _tags(request)]
    if file.etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(file.body, headers=headers, media_type=file.media_type)


def _tags(request: Request) -> list[str]:
    return request.headers.get("if-none-match", "").split(",")
