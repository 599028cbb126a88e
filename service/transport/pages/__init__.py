"""The pages of the server: ``/``, ``/console``, and ``/docs``, which shows ``/openapi.json``.

Nothing on them comes from another host, and the policy sent along lets nothing come from one.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, Response
from starlette.routing import Route, Router
from swagger_ui_bundle import swagger_ui_path

from service.transport.openapi import openapi_json
from service.transport.pages.console import CONSOLE, CONSOLE_FOLDER, console_routes
from service.transport.pages.home import home_page
from trunkline.html_report.style import STYLE

PAGES = ("/", "/docs", CONSOLE)
"""What is made to be looked at, the same for everybody."""

FOLDERS = ("/docs/", CONSOLE_FOLDER)
"""What pages are made of is below these."""

_FOLDER = Path(__file__).parent
# Browsers read scripts in the encoding of the page unless they are told; Swagger UI's is UTF-8.
_ASSETS: Mapping[str, tuple[Path, str]] = {
    "docs.js": (_FOLDER, "text/javascript; charset=utf-8"),
    "swagger-ui-bundle.js": (swagger_ui_path, "text/javascript; charset=utf-8"),
    "swagger-ui.css": (swagger_ui_path, "text/css; charset=utf-8"),
}

_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
_POLICY = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
_HOME_POLICY = _POLICY + f"style-src 'sha256-{_STYLE_HASH}'"
_REPORT_POLICY = _HOME_POLICY + "; img-src data:"
# Swagger UI has its icons in its style sheet.
_DOCS_POLICY = _POLICY + "script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:"

# Pages of BentoML, which load what they need from other hosts. It would show them behind ours.
_HIDDEN = ("/docs.json", "/static_content/{path:path}", "/assets/{path:path}")
_NOWHERE = Router()

_NO_SNIFFING = {"X-Content-Type-Options": "nosniff"}
_ADDRESS = re.compile(r"https?://[A-Za-z0-9.:\[\]_-]+/")


def page_routes() -> list[Route]:
    """Returns the routes of the pages."""
    return [
        Route("/", _home),
        Route("/docs", _docs),
        Route("/openapi.json", _openapi),
        Route("/docs/{name}", _asset),
        *console_routes(),
        *(Route(path, _NOWHERE) for path in _HIDDEN),
    ]


async def _home(request: Request) -> Response:
    address = str(request.base_url)
    # It is shown as part of commands to copy, so it must be nothing but an address.
    return _page(home_page(address if _ADDRESS.fullmatch(address) else None), _HOME_POLICY)


async def _openapi(request: Request) -> Response:
    return Response(openapi_json(), headers=_NO_SNIFFING, media_type="application/json")


async def _docs(request: Request) -> Response:
    return _page((_FOLDER / "docs.html").read_text(encoding="utf-8"), _DOCS_POLICY)


async def _asset(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in _ASSETS:
        raise HTTPException(404)
    folder, media_type = _ASSETS[name]
    return FileResponse(folder / name, headers=_NO_SNIFFING, media_type=media_type)


def html_response(html: str) -> Response:
    """Returns a page that needs nothing but the style that reports have."""
    return _page(html, _REPORT_POLICY)


def _page(html: str, policy: str, headers: Mapping[str, str] = _NO_SNIFFING) -> Response:
    said = {"Content-Security-Policy": policy, "Referrer-Policy": "no-referrer"}
    return HTMLResponse(html, headers={**headers, **_NO_SNIFFING, **said})
