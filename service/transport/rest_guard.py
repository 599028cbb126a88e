"""Middleware that every REST request passes first and last.

No pickles and no body beyond the limit get in; no error gets out that is not a problem document
with a request id, whoever made it: the router, BentoML's own endpoints, or a fault.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.access.caller import Role
from service.addresses import host_of, is_loopback
from service.errors import (
    BodyTooLarge,
    HeadersTooLarge,
    InternalError,
    InvalidRequest,
    PermissionDenied,
    ServiceError,
    TargetTooLong,
    Unavailable,
    UnknownMethod,
    UnsupportedMediaType,
    problem_of,
)
from service.transport.backend import CALLER, Backend
from service.transport.foreign.passwords import with_bearer
from service.transport.foreign.paths import OIP_HEALTH, takes
from service.transport.packed_bodies import TAKEN, Unpacker, coding_of
from service.transport.pages import FOLDERS, PAGES
from service.transport.plain_rows import is_plain
from service.transport.problems import refuse
from service.transport.receiving import Receipt, ReceivingBudget
from service.transport.sites import PROBES, Sites

MEDIA_TYPES = (
    "application/json",
    "multipart/form-data",
    "application/x-www-form-urlencoded",
    "",
)
MAX_TARGET_BYTES = 8 * 1024
MAX_HEADER_BYTES = 32 * 1024

UNCOUNTED_BYTES = 64 * 1024
"""Bytes of each body that do not count: small ones pass while large ones hold the whole budget."""

PIECE_BYTES = 256 * 1024
"""Unpacked at once."""

_LENGTH = re.compile("[0-9]{1,20}")
HSTS = (b"strict-transport-security", b"max-age=31536000")
"""Not said of loopback, whose name is that of other servers, too."""
METRICS = "/metrics"
OPEN = (*PROBES, *OIP_HEALTH, *PAGES, "/openapi.json")
"""What says whether the server is ready, and how it is used, needs no key."""


class RestGuard:
    """ASGI middleware that refuses other sites, other media types, and bodies that are too large.

    A body is unpacked and counted while it arrives: neither one without a length nor one that
    unpacks to much more gets around the limit. The budget holds it until it is answered.
    """

    def __init__(
        self,
        app: ASGIApp,
        max_body_bytes: int,
        budget: ReceivingBudget,
        backend: Backend,
        *,
        loopback_only: bool,
        allowed_origins: Iterable[str] = (),
    ) -> None:
        self._app = app
        self._backend = backend
        self._budget = budget
        self._sites = Sites(allowed_origins, loopback_only=loopback_only)
        self._max_body_bytes = max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        scope = with_bearer(scope)
        headers = Headers(scope=scope)
        if _is_encrypted(scope) and not is_loopback(host_of(headers.get("host", ""))):
            send = _strictly(send)
        unpacker: Unpacker | None = None
        try:
            self._check_site(headers, scope)
            if not _is_open(scope["path"]):
                await self._find_caller(headers, scope)
            if scope["type"] == "websocket":
                raise UnknownMethod("path: there are no WebSockets", field="path")
            if scope["path"] in (*PROBES, METRICS):
                await self._app(scope, receive, send)
                return
            _check_head(scope)
            for content_type in headers.getlist("content-type"):
                _check_media_type(content_type, scope["path"])
            self._check_size(headers.get("content-length", "0"))
            if coding := coding_of(headers.getlist("content-encoding")):
                unpacker = Unpacker(coding)
                scope = _without(scope, b"content-encoding", b"content-length")
        except ServiceError as error:
            unpackable = problem_of(error).field == "content-encoding"  # RFC 9110, section 15.5.16
            headers_sent = {"Accept-Encoding": TAKEN} if unpackable else None
            answer = refuse(error, scope, headers=headers_sent, backend=self._backend)
            await answer(scope, receive, send)
            return
        receipt = self._budget.open()
        body = _Body(receive, self._max_body_bytes, unpacker, receipt)
        try:
            await self._pass_on(body, scope, send)
        finally:
            body.refusal = None  # its traceback holds what has arrived
            receipt.close()

    async def _pass_on(self, body: _Body, scope: Scope, send: Send) -> None:
        receive = body.receive
        foreign: Message | None = None  # the start of an error that is no problem document yet
        answered = False

        async def translated(message: Message) -> None:
            nonlocal foreign, answered
            if message["type"] == "http.response.start" and (body.refusal or _is_foreign(message)):
                foreign = message
                return
            if foreign is None:
                answered = True
                await send(message)
                return
            if not message.get("more_body"):
                response = (
                    refuse(body.refusal, scope)
                    if body.refusal
                    else refuse(_read(foreign, scope), scope, foreign["status"], _kept(foreign))
                )
                answered = True
                await response(scope, receive, send)

        try:
            await self._app(scope, receive, translated)
        except ServiceError as error:
            if error is not body.refusal:
                raise
            if not answered:
                await refuse(error, scope)(scope, receive, send)

    async def _find_caller(self, headers: Headers, scope: Scope) -> None:
        """Notes who asks in the scope, before anything of a body is read."""
        caller = scope[CALLER] = await self._backend.authentication.caller(headers.items())
        if scope["path"] == METRICS and not caller.may_read_metrics:
            raise PermissionDenied.at(
                "authorization", "the key needs the role {limit}", Role.METRICS.value
            )

    def _check_site(self, headers: Headers, scope: Scope) -> None:
        path, hosts = scope["path"], headers.getlist("host")
        followed = path in PAGES and headers.get("sec-fetch-dest") == "document"
        origins, sites = headers.getlist("origin"), headers.getlist("sec-fetch-site")
        scheme = "https" if _is_encrypted(scope) else "http"
        self._sites.check_origin(hosts, origins, sites, scheme=scheme, followed=followed)
        if path not in PROBES:  # which show nothing, and are asked by whatever watches the server
            self._sites.check_host(hosts)

    def _check_size(self, content_length: str) -> None:
        if not _LENGTH.fullmatch(content_length):
            raise InvalidRequest.at(
                "content-length", "must be a number, is {value!r}", "a number", content_length
            )
        if int(content_length) > self._max_body_bytes:
            raise _too_large(self._max_body_bytes, int(content_length))


def _is_encrypted(scope: Scope) -> bool:
    return scope.get("scheme") in ("https", "wss")


def _strictly(send: Send) -> Send:
    """Has browsers use TLS alone from now on, for this name on all ports (RFC 6797)."""

    async def strictly(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), HSTS]}
        await send(message)

    return strictly


def _is_open(path: str) -> bool:
    """Returns whether a path shows the same to everybody, and nothing of a tenant."""
    return path in OPEN or path.startswith(FOLDERS)


def _check_media_type(content_type: str, path: str) -> None:
    media_type = content_type.split(";")[0].strip().lower()
    known = media_type in MEDIA_TYPES or takes(path, media_type) or is_plain(path, media_type)
    if not known:
        wanted = "application/json or multipart/form-data"
        raise UnsupportedMediaType.at(
            "content-type", "must be {limit}, is {value!r}", wanted, media_type
        )


class _Body:
    """A body on its way in: unpacked, if it is packed, and counted before and after that.

    Attributes:
        refusal: why no more of it was read.
    """

    def __init__(
        self, receive: Receive, most: int, unpacker: Unpacker | None, receipt: Receipt
    ) -> None:
        self._receive = receive
        self._most = most
        self._unpacker = unpacker
        self._receipt = receipt
        self._arrived = 0
        self._size = 0
        self._counted = 0
        self._complete = False
        self.refusal: ServiceError | None = None

    async def receive(self) -> Message:
        """Returns the next message of the server's."""
        if self._complete:
            return await self._receive()
        try:
            message = await self._receipt.wait(self._receive)
            if message["type"] != "http.request":
                return message
            body = await self._take(message)
        except ServiceError as error:
            self.refusal = error
            raise
        if not message.get("more_body"):
            self._complete = True
            self._receipt.complete()
        return {**message, "body": body}

    async def _take(self, message: Message) -> bytes:
        body: bytes = message.get("body", b"")
        self._arrived += len(body)
        if self._arrived > self._most:
            raise _too_large(self._most, self._arrived, " when unpacked" if self._unpacker else "")
        if self._unpacker is None:
            await self._count(len(body))
            return body
        body = await self._unpack(body, self._unpacker)
        if not message.get("more_body"):
            self._unpacker.end()
        return body

    async def _unpack(self, packed: bytes, unpacker: Unpacker) -> bytes:
        parts: list[bytes] = []
        rest: bytes | None = packed
        while rest is not None:
            piece = PIECE_BYTES if self._size >= UNCOUNTED_BYTES else UNCOUNTED_BYTES
            piece = min(piece, self._most - self._size + 1)
            await self._count(piece)  # before it is there
            part, rest = await asyncio.to_thread(unpacker.unpack, rest, piece)
            self._uncount(piece - len(part))
            if self._size > self._most:
                raise _too_large(self._most, self._size, " when unpacked")
            parts.append(part)
        return b"".join(parts)

    async def _count(self, nbytes: int) -> None:
        self._size += nbytes
        more = max(0, self._size - UNCOUNTED_BYTES) - self._counted
        if more > 0:
            await self._receipt.take(more)
            self._counted += more

    def _uncount(self, nbytes: int) -> None:
        self._size -= nbytes
        less = self._counted - max(0, self._size - UNCOUNTED_BYTES)
        if less > 0:
            self._receipt.give_back(less)
            self._counted -= less


def _too_large(most: int, size: int, when: str = "") -> BodyTooLarge:
    return BodyTooLarge(
        f"body: at most {most} bytes{when}, has {size} or more",
        field="body",
        limit=most,
        value=size,
    )


def _check_head(scope: Scope) -> None:
    target = len(scope.get("raw_path") or scope["path"].encode()) + len(scope["query_string"])
    if target > MAX_TARGET_BYTES:
        raise TargetTooLong.at(
            "path", "at most {limit} bytes with its query, has {value}", MAX_TARGET_BYTES, target
        )
    size = sum(len(name) + len(value) for name, value in scope["headers"])
    if size > MAX_HEADER_BYTES:
        raise HeadersTooLarge.at(
            "headers", "at most {limit} bytes, have {value}", MAX_HEADER_BYTES, size
        )


def _without(scope: Scope, *names: bytes) -> Scope:
    kept = [(name, value) for name, value in scope["headers"] if name.lower() not in names]
    return {**scope, "headers": kept}


def _is_foreign(start: Message) -> bool:
    content_type = Headers(raw=start["headers"]).get("content-type", "")
    return start["status"] >= 400 and not content_type.startswith("application/problem+json")


def _kept(start: Message) -> dict[str, str]:
    return {name: value for name, value in Headers(raw=start["headers"]).items() if name == "allow"}


def _read(start: Message, scope: Scope) -> ServiceError:
    """Returns the error that the router or BentoML meant."""
    status = start["status"]
    asked = f"{scope['method']} {scope['path']}"
    if status == 405:
        allowed = Headers(raw=start["headers"]).get("allow", "")
        return UnknownMethod(
            f"path: {scope['path'][:200]} takes {allowed}, not {scope['method'][:20]}",
            field="path",
            limit=allowed,
            value=asked,
        )
    if status == 404:
        return UnknownMethod(f"path: there is no {asked[:200]}", field="path", value=asked)
    if status == 503:
        return Unavailable("the server is not ready", retry_after=1.0)
    if status >= 500:
        return InternalError("internal error")
    return InvalidRequest("request: cannot be read", field="request", value=asked)
