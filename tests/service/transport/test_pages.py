"""The pages of the server need nothing from elsewhere, and say so."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser

import httpx
import pytest

from service.transport.backend import Backend
from service.transport.openapi import openapi_document
from service.transport.pages import PAGES
from service.transport.receiving import ReceivingBudget
from service.transport.rest import rest_app
from service.transport.rest_guard import RestGuard
from tests.service.transport.open_backend import open_backend
from trunkline.version import __version__

ADDRESS = "http://127.0.0.1:8123"
REFERRING = ("action", "data", "formaction", "href", "poster", "src", "srcset")


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    """A client of a server that is starting: pages need no backbone."""
    app = RestGuard(
        rest_app(Backend()), 1000, ReceivingBudget(10**6, 60), open_backend(), loopback_only=False
    )
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=ADDRESS) as opened:
        yield opened


def policy(answer: httpx.Response) -> dict[str, list[str]]:
    """The directives of a Content-Security-Policy."""
    directives = answer.headers["content-security-policy"].split(";")
    return {name: values for name, *values in (words.split() for words in directives)}


@pytest.mark.parametrize("path", PAGES)
async def test_policy_of_a_page_lets_nothing_come_from_another_host(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    directives = policy(answer)
    for name in ("default-src", "base-uri", "form-action", "frame-ancestors"):
        assert directives.pop(name) == ["'none'"]
    trusted = directives.pop("trusted-types", []), directives.pop("require-trusted-types-for", [])
    assert trusted in (([], []), (["report"], ["'script'"]))  # what may make markup of a string
    for values in directives.values():
        assert all(re.fullmatch(r"'self'|data:|blob:|'sha256-[\w+/=]+'", value) for value in values)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("path", PAGES)
async def test_all_that_a_page_refers_to_is_on_this_server(
    client: httpx.AsyncClient, path: str
) -> None:
    html = (await client.get(path)).text
    links = [link for _, link in links_of(html) if link != "data:,"]
    assert links
    for link in links:
        assert not re.match(r"\w+:|//", link), link
        if link not in ("readyz", "metrics"):  # BentoML's routes
            assert (await client.get(f"/{link}")).status_code == 200, link
    assert set(re.findall(r"https?://[^/\s<]+", html)) <= {ADDRESS}


async def test_home_says_what_this_is_and_how_to_go_on(client: httpx.AsyncClient) -> None:
    html = (await client.get("/")).text
    assert "<title>Trunkline</title>" in html
    assert "BentoML" not in html
    assert __version__ in html
    assert f"{ADDRESS}/v1/tenants/acme:embed" in html
    links = {link for _, link in links_of(html)}
    assert links == {"console", "docs", "openapi.json", "readyz", "metrics"}


async def test_home_runs_no_script_and_its_style_is_the_one_that_its_policy_names(
    client: httpx.AsyncClient,
) -> None:
    answer = await client.get("/")
    assert "<script" not in answer.text
    (style,) = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert policy(answer)["style-src"] == [f"'sha256-{digest}'"]
    assert "prefers-color-scheme: dark" in style
    assert " style=" not in answer.text


@pytest.mark.parametrize("host", ["$(reboot).example", "a';reboot;'", "<script>", "a&b"])
async def test_host_that_is_no_address_is_not_shown(client: httpx.AsyncClient, host: str) -> None:
    html = (await client.get("/", headers={"host": host})).text
    assert re.search(r" http://127\.0\.0\.1:(3000|8123)/v1/backbones", html)
    for shown in (host, "reboot", "<script>"):
        assert shown not in html


async def test_openapi_json_is_the_document(client: httpx.AsyncClient) -> None:
    answer = await client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == openapi_document()


@pytest.mark.parametrize(
    ("name", "media_type"),
    [
        ("docs.js", "text/javascript; charset=utf-8"),
        ("swagger-ui-bundle.js", "text/javascript; charset=utf-8"),
        ("swagger-ui.css", "text/css; charset=utf-8"),
    ],
)
async def test_files_of_the_documentation_say_their_type_and_encoding(
    client: httpx.AsyncClient, name: str, media_type: str
) -> None:
    answer = await client.get(f"/docs/{name}")
    assert answer.headers["content-type"] == media_type
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert len(answer.content) == int(answer.headers["content-length"]) > 100


@pytest.mark.parametrize(
    "path",
    [
        *("/docs.json", "/static_content/index.css", "/static_content/", "/assets/x.js"),
        *("/docs/home.py", "/docs/..%2f__init__.py", "/docs/swagger-ui.css.map", "/index.html"),
        *("/docs/oauth2-redirect.html", "/openapi.yaml", "/v1", "/favicon.ico"),
    ],
)
async def test_path_that_is_not_there_is_a_problem_document(
    client: httpx.AsyncClient, path: str
) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "UNIMPLEMENTED"


@pytest.mark.parametrize("path", [*PAGES, "/openapi.json"])
async def test_pages_are_there_to_be_read_alone(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.post(path)
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}
    assert (await client.head(path)).content == b""


def links_of(html: str) -> list[tuple[str, str]]:
    """The addresses in a page, each with the element that has it."""
    found: list[tuple[str, str]] = []

    class Links(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            found.extend((tag, value or "") for name, value in attrs if name in REFERRING)

    Links().feed(html)
    return found
