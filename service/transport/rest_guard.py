"""Middleware that every REST request passes first and last.

No pickles and no body beyond the limit get in; no error gets out that is not a problem document
with a request id, whoever made it: the router, BentoML's own endpoints, or a fault.
"""

from __future__ import annotations

import json
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.addresses import is_loopback
from service.errors import (
    BodyTooLarge,
    Forbidden,
    InternalError,
    InvalidRequest,
    ServiceError,
    Unavailable,
    UnknownMethod,
    UnsupportedMediaType,
)
from service.transport.pages import PAGES
from service.transport.rest import refuse

MEDIA_TYPES = (
    "application/json",
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "",
)
# BentoML reads the bodies of its native endpoints; a malformed form it takes for its own fault.
NATIVE = ("/predict", "/embed")
NATIVE_MEDIA_TYPES = tuple(name for name in MEDIA_TYPES if name != "multipart/form-data")
_LENGTH = re.compile("[0-9]{1,20}")
PROBES = ("/livez", "/readyz", "/healthz", "/metrics")


class RestGuard:
    """ASGI middleware that refuses other sites, other media types, and bodies that are too large.

    A body is counted while it arrives, so one without a length cannot get around the limit.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int, *, loopback_only: bool) -> None:
        self._app = app
        self._loopback_only = loopback_only
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it."""
        if scope["type"] != "http" or scope["path"] in PROBES:
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            self._check_site(headers, scope["path"])
            for content_type in headers.getlist("content-type"):
                self._check_media_type(content_type, native=scope["path"] in NATIVE)
            self._check_size(headers.get("content-length", "0"))
        except ServiceError as error:
            await refuse(error, scope)(scope, receive, send)
            return
        await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0
        too_large: ServiceError | None = None
        foreign: Message | None = None  # the start of an error that is no problem document yet
        text = b""
        answered = False

        async def counted() -> Message:
            nonlocal size, too_large
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body_bytes:
                too_large = self._too_large(size)
                raise too_large
            return message

        async def translated(message: Message) -> None:
            nonlocal foreign, text, answered
            if message["type"] == "http.response.start" and (too_large or _is_foreign(message)):
                foreign = message
                return
            if foreign is None:
                answered = True
                await send(message)
                return
            text += message.get("body", b"")
            if not message.get("more_body"):
                response = (
                    refuse(too_large, scope)
                    if too_large
                    else refuse(_read(foreign, text), scope, foreign["status"], _kept(foreign))
                )
                answered = True
                await response(scope, receive, send)

        try:
            await self._app(scope, counted, translated)
        except InvalidRequest as error:
            if error is not too_large:
                raise
            if not answered:
                await refuse(error, scope)(scope, receive, send)

    def _check_site(self, headers: Headers, path: str) -> None:
        """Refuses what a browser sends for another site: it reaches loopback, too.

        A link to a page may be followed: pages are the same for everybody, and are never framed.
        """
        followed = path in PAGES and headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site") in ("cross-site", "same-site") and not followed:
            raise Forbidden(
                "sec-fetch-site: pages of other sites may not use this server",
                field="sec-fetch-site",
                limit="same-origin",
                value=headers["sec-fetch-site"],
            )
        try:
            host = urlsplit(f"//{headers.get('host', 'localhost')}").hostname or ""
        except ValueError:
            host = ""
        if self._loopback_only and not is_loopback(host):
            raise Forbidden(
                f"host: must be a loopback name or address, is {host[:100]!r}",
                field="host",
                limit="loopback",
                value=host,
            )

    def _check_media_type(self, content_type: str, *, native: bool) -> None:
        media_type = content_type.split(";")[0].strip().lower()
        if media_type not in (NATIVE_MEDIA_TYPES if native else MEDIA_TYPES):
            wanted = "application/json" + ("" if native else " or multipart/form-data")
            raise UnsupportedMediaType(
                f"content-type: must be {wanted}, is {media_type[:100]!r}",
                field="content-type",
                limit=wanted,
                value=media_type,
            )

    def _check_size(self, content_length: str) -> None:
        if not _LENGTH.fullmatch(content_length):
            raise InvalidRequest(
                f"content-length: must be a number, is {content_length[:20]!r}",
                field="content-length",
                limit="a number",
                value=content_length,
            )
        if int(content_length) > self._max_body_bytes:
            raise self._too_large(int(content_length))

    def _too_large(self, size: int) -> BodyTooLarge:
        return BodyTooLarge(
            f"body: at most {self._max_body_bytes} bytes, has {size} or more",
            field="body",
            limit=self._max_body_bytes,
            value=size,
        )


def _is_foreign(start: Message) -> bool:
    content_type = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] >= 400 and not content_type.startswith("application/problem+json")


def _kept(start: Message) -> dict[str, str]:
    return {name: value for name, value in Headers(raw=start["headers"]).items() if name == "allow"}


def _read(start: Message, text: bytes) -> ServiceError:
    """Returns the error that the router or BentoML meant."""
    status = start["status"]
    if status in (404, 405):
        return UnknownMethod("path: there is no such method", field="path")
    if status == 503:
        return Unavailable("the server is not ready", retry_after=1.0)
    if status >= 500:
        return InternalError("internal error")
    try:
        details = json.loads(text)["detail"]
        faults = [f"{'.'.join(map(str, item['loc']))} {item['msg']}".strip() for item in details]
    except (ValueError, KeyError, TypeError):
        faults = ["malformed"]
    return InvalidRequest(
        f"body: {'; '.join(faults)[:300]}", field="body", limit="the endpoint's form"
    )
