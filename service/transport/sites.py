"""Whose requests are taken: not those that a browser sends for a page of another site.

Any page can have its visitor's browser ask loopback or a private network, where a server without
tokens listens. A browser says of such a request where it comes from (`Origin`, `Sec-Fetch-Site`);
what a page whose name was bound to this address anew asks (DNS rebinding) has a foreign `Host`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from prometheus_client import CollectorRegistry, make_asgi_app
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from service.access.authentication import Authentication
from service.addresses import host_of, is_loopback, is_origin_of
from service.errors import Forbidden, Unauthenticated
from service.transport.problems import refuse
from service.transport.readiness import Readiness

PROBES = ("/livez", "/readyz", "/healthz")
"""What says whether a server runs, and can serve: it shows nothing else."""


class Sites:
    """Knows the sites that requests may come from.

    Args:
        allowed: origins besides that which a request's `Host` names, as ``https://name:port``.
        loopback_only: whether this machine alone is served, so that other names are foreign.
    """

    def __init__(self, allowed: Iterable[str] = (), *, loopback_only: bool) -> None:
        self._allowed = frozenset(origin.lower() for origin in allowed)
        self._loopback_only = loopback_only

    def check_origin(
        self,
        hosts: Sequence[str],
        origins: Sequence[str],
        fetch_sites: Sequence[str],
        *,
        scheme: str,
        followed: bool = False,
    ) -> None:
        """Refuses a page of another site.

        Args:
            scheme: of the connection, ``http`` or ``https``.
            hosts: values of the header `Host`.
            origins: values of `Origin`.
            fetch_sites: values of `Sec-Fetch-Site`.
            followed: whether a link led to a page of ours: those are the same for everybody, and
                are never framed.

        Raises:
            Forbidden: naming the header.
        """
        named = [origin for origin in origins if origin.lower() in self._allowed]
        foreign = [
            origin
            for origin in origins
            if origin not in named and not _is_own(origin, hosts, scheme)
        ]
        if foreign:
            raise Forbidden.at(
                "origin",
                "must be this server's own, or one of allowed_origins, is {value!r}",
                "same-origin",
                foreign[0],
            )
        for site in fetch_sites:
            if site in ("cross-site", "same-site") and not followed and not named:
                raise Forbidden(
                    "sec-fetch-site: pages of other sites may not use this server",
                    field="sec-fetch-site",
                    limit="same-origin",
                    value=site,
                )

    def check_host(self, hosts: Sequence[str]) -> None:
        """Refuses a name for this machine that is not its own.

        Raises:
            Forbidden: loopback alone is served, and `Host` names something else.
        """
        if not self._loopback_only:
            return
        for text in hosts:
            host = host_of(text)
            if not is_loopback(host):
                raise Forbidden.at(
                    "host", "must be a loopback name or address, is {value!r}", "loopback", host
                )


def _is_own(origin: str, hosts: Sequence[str], scheme: str) -> bool:
    return any(is_origin_of(origin, host, scheme) for host in hosts)


def metrics_app(
    registry: CollectorRegistry,
    sites: Sites,
    authentication: Authentication,
    readiness: Readiness,
) -> ASGIApp:
    """Returns an application that answers with metrics whom `sites` and a key let ask.

    It answers ``/livez`` and ``/readyz`` as REST does, to whoever asks.
    """
    metrics = make_asgi_app(registry)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        values = headers.getlist
        try:
            asked = (values("host"), values("origin"), values("sec-fetch-site"))
            sites.check_origin(*asked, scheme=scope.get("scheme", "http"))
            if scope["type"] == "http" and scope["path"] in PROBES:
                await _probed(scope["path"], readiness)(scope, receive, send)
                return
            sites.check_host(values("host"))
            if scope["type"] == "http":
                await authentication.caller(headers.items())
        except (Forbidden, Unauthenticated) as error:
            await refuse(error, scope)(scope, receive, send)
            return
        await metrics(scope, receive, send)

    return app


def _probed(path: str, readiness: Readiness) -> PlainTextResponse:
    if path == "/readyz" and readiness.reasons:
        return PlainTextResponse(f"not ready: {'; '.join(readiness.reasons)}", 503)
    return PlainTextResponse("")
