"""The console in a real browser, against a real server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page

from tests.browser import launched, watched
from tests.console.steps import Console
from tests.e2e.processes import Running, serve_command, serving
from tests.e2e.samples import textile_photos


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Running]:
    """A server whose store is empty when a file's tests begin."""
    folder = tmp_path_factory.mktemp("server")
    with serving(serve_command(folder / "data"), folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with launched() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(permissions=["camera"], viewport={"width": 1280, "height": 900})
    context.set_default_timeout(60_000)
    with watched(context) as page:
        yield page
    context.close()


@pytest.fixture
def console(page: Page, server: Running) -> Console:
    """The console, opened."""
    return Console(page, server.rest)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of photos, with a sub-folder for each of three classes."""
    folder = tmp_path_factory.mktemp("photos")
    for index, (data, label) in enumerate(textile_photos(6)):
        (folder / label).mkdir(exist_ok=True)
        (folder / label / f"{index}.jpg").write_bytes(data)
    return folder
