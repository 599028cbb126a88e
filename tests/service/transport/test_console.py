"""The console's files, as they are served."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from service.transport.backend import Backend
from service.transport.receiving import ReceivingBudget
from service.transport.rest import rest_app
from service.transport.rest_guard import RestGuard
from tests.service.transport.open_backend import open_backend

CONSOLE = Path(__file__).parents[3] / "console"
FILES = sorted(path for path in CONSOLE.rglob("*") if path.is_file())
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml; charset=utf-8",
}
MOST_LINES = 3000


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    app = RestGuard(
        rest_app(Backend()), 1000, ReceivingBudget(10**6, 60), open_backend(), loopback_only=False
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:1") as opened:
        yield opened


async def test_every_file_is_served_as_what_it_is(client: httpx.AsyncClient) -> None:
    for file in FILES:
        path = f"/console/{file.relative_to(CONSOLE).as_posix()}"
        answer = await client.get(path)
        assert answer.status_code == 200, path
        assert answer.content == file.read_bytes()
        assert answer.headers["content-type"] == TYPES[file.suffix]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert (await client.get("/console")).content == (CONSOLE / "index.html").read_bytes()


async def test_file_that_has_not_changed_is_not_sent_again(client: httpx.AsyncClient) -> None:
    first = await client.get("/console/app.js")
    assert first.headers["cache-control"] == "no-cache"
    tag = first.headers["etag"]
    for known in (tag, f'W/{tag}, "other"', f'"other", {tag}', "*"):
        again = await client.get("/console/app.js", headers={"if-none-match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == tag
    other = await client.get("/console/app.js", headers={"if-none-match": '"other"'})
    assert other.content == first.content
    head = await client.head("/console/app.js")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(first.content))


@pytest.mark.parametrize(
    "path",
    [
        "/console/nothing.js",
        "/console/../pyproject.toml",
        "/console/%2e%2e/pyproject.toml",
        "/console/..%2fpyproject.toml",
        "/console//etc/passwd",
        "/console/pages",
        "/console/pages/",
        "/console/app.js/",
        "/console/app.js%00",
    ],
)
async def test_nothing_else_is_to_be_had(client: httpx.AsyncClient, path: str) -> None:
    answer = await client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert (await client.post("/console/app.js")).status_code == 405


def test_console_is_small_and_names_no_other_host() -> None:
    assert {file.suffix for file in FILES} == set(TYPES)
    texts = {file: file.read_text(encoding="utf-8") for file in FILES}
    assert sum(text.count("\n") for text in texts.values()) <= MOST_LINES
    for file, text in texts.items():
        found = set(re.findall(r"https?://[^\s'\"`)]+", text))
        allowed = {"http://www.w3.org/2000/svg", "https://github.com/BLAKE3-team/BLAKE3-specs,"}
        assert found <= allowed, file
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def test_modules_import_one_another_and_nothing_else() -> None:
    for file in FILES:
        for name in re.findall(r"(?:from|import) '([^']+)'", file.read_text(encoding="utf-8")):
            assert name.startswith("."), file
            assert (file.parent / name).resolve() in FILES, (file, name)
