"""What every REST request passes first: no pickles, and no body beyond the limit."""

from __future__ import annotations

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import InvalidRequest, ServiceError, UnsupportedMediaType
from service.rest import problem_response

MEDIA_TYPES = (
    "application/json",
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "text/plain",
    "",
)


class Gate:
    """ASGI middleware that refuses bodies of other media types, and those that are too large.

    A body is counted while it arrives, so one without a length cannot get around the limit.
    """

    def __init__(self, app: ASGIApp, max_body_bytes: int) -> None:
        self._app = app
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name: value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check_media_type(headers.get(b"content-type", ""))
            self._check_size(headers.get(b"content-length", "0"))
        except ServiceError as error:
            await problem_response(error)(scope, receive, send)
            return
        await self._pass_on(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = 0
        answered = False

        async def counted() -> Message:
            nonlocal size
            message = await receive()
            size += len(message.get("body", b""))
            if size > self._max_body_bytes:
                raise self._too_large(size)
            return message

        async def noted(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        try:
            await self._app(scope, counted, noted)
        except InvalidRequest as error:
            if answered:
                raise
            await problem_response(error)(scope, receive, send)

    def _check_media_type(self, content_type: str) -> None:
        media_type = content_type.split(";")[0].strip().lower()
        if media_type not in MEDIA_TYPES:
            raise UnsupportedMediaType(
                f"content-type: must be application/json or multipart/form-data, "
                f"is {media_type[:100]!r}",
                field="content-type",
                limit="application/json or multipart/form-data",
                value=media_type,
            )

    def _check_size(self, content_length: str) -> None:
        if not content_length.isascii() or not content_length.isdigit():
            raise InvalidRequest(
                f"content-length: must be a number, is {content_length[:20]!r}",
                field="content-length",
                limit="a number",
                value=content_length,
            )
        if int(content_length) > self._max_body_bytes:
            raise self._too_large(int(content_length))

    def _too_large(self, size: int) -> InvalidRequest:
        return InvalidRequest(
            f"body: at most {self._max_body_bytes} bytes, has {size} or more",
            field="body",
            limit=self._max_body_bytes,
            value=size,
        )
