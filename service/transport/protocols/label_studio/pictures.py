"""Pictures that tasks name by their address, fetched from one Label Studio alone."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from service.errors import InvalidRequest, Unavailable
from service.transport.base64_text import read_base64

FETCH_SECONDS = 10.0
"""Time for a picture, from the question to its last byte: Label Studio waits 100 s for all."""

AT_ONCE = 8
"""Pictures of a request that are fetched at the same time."""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Fetches from one origin alone: whoever writes a task must not choose whom the server asks.

    Args:
        origin: ``http://host:port``, or ``https://…``; "" fetches nothing.
        token: that Label Studio knows; shown to nobody else, as no redirect is followed.
        max_bytes: of a picture.
    """

    origin: str = ""
    token: str = ""
    max_bytes: int = 0

    def client(self) -> httpx.AsyncClient:
        """Returns what fetches the pictures of one request; to be closed after it."""
        headers = {"Accept-Encoding": "identity"}
        if self.token:
            headers["Authorization"] = f"Token {self.token}"
        return httpx.AsyncClient(
            headers=headers,
            follow_redirects=False,
            timeout=FETCH_SECONDS,
            trust_env=False,
            limits=httpx.Limits(max_connections=AT_ONCE),
        )

    async def read(self, address: str, client: httpx.AsyncClient) -> bytes:
        """Returns the picture at an address, or in it (``data:``).

        Raises:
            InvalidRequest: the address is elsewhere, or what is there is no file of that size.
            Unavailable: Label Studio does not give it.
        """
        if address[:5].lower() == "data:":
            return read_base64(address, "task.data")
        url = self._url_of(address)
        try:
            async with asyncio.timeout(FETCH_SECONDS), client.stream("GET", url) as response:
                return await self._body(response)
        except (TimeoutError, httpx.HTTPError) as error:
            raise Unavailable(
                f"task.data: Label Studio does not give the picture: {type(error).__name__}",
                field="task.data",
                retry_after=1.0,
            ) from error

    def _url_of(self, address: str) -> str:
        """Returns where to ask, which is below the origin whatever the address says."""
        if not self.origin:
            raise _elsewhere("nothing: set label_studio_url", address)
        try:
            parts, own = urlsplit(address), urlsplit(self.origin)
            same = (parts.scheme, parts.hostname, parts.port) == (
                own.scheme,
                own.hostname,
                own.port,
            )
        except ValueError:
            raise _elsewhere(self.origin, address) from None
        relative = not parts.scheme and not parts.netloc and address.startswith("/")
        plain = address.isascii() and address.isprintable() and "\\" not in address
        if not plain or not (relative or same) or parts.username is not None:
            raise _elsewhere(self.origin, address)
        query = f"?{parts.query}" if parts.query else ""
        return f"{self.origin}{parts.path or '/'}{query}"

    async def _body(self, response: httpx.Response) -> bytes:
        if response.status_code != httpx.codes.OK:
            raise InvalidRequest.at(
                "task.data",
                "the picture must be there, Label Studio answers {value}",
                200,
                response.status_code,
            )
        body = bytearray()
        async for part in response.aiter_raw():
            body += part
            if len(body) > self.max_bytes:
                raise InvalidRequest.at(
                    "task.data",
                    "at most {limit} bytes, has {value} or more",
                    self.max_bytes,
                    len(body),
                )
        return bytes(body)


def _elsewhere(origin: str, address: str) -> InvalidRequest:
    return InvalidRequest(
        f"task.data: pictures are fetched from {origin}, alone, not from {address[:200]!a}",
        field="task.data",
        limit=origin,
        value=address,
    )
