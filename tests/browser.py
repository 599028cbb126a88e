"""A browser for tests: Debian's Chromium, where there is one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, sync_playwright

REQUIRED = "BROWSER_TESTS"
"""Where this is set to "required", a test that finds no browser fails."""

_NAMES = ("chromium", "google-chrome")
_CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@contextmanager
def launched() -> Iterator[Browser]:
    """A browser within the block, with a camera that shows a test picture."""
    path = next(filter(None, map(shutil.which, _NAMES)), None)
    if path is None:
        words = f"there is no browser on this machine: {' or '.join(_NAMES)}"
        if os.environ.get(REQUIRED) == "required":
            pytest.fail(words)
        pytest.skip(words)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=_CAMERA)
        yield browser
        browser.close()


@contextmanager
def watched(context: BrowserContext) -> Iterator[Page]:
    """A page; at its end nothing may have gone wrong in it, and one host alone was asked."""
    page = context.new_page()
    hosts: set[str] = set()
    said: list[str] = []
    page.on("request", lambda sent: hosts.add(urlsplit(sent.url).netloc))
    page.on("pageerror", lambda error: said.append(f"error: {error}"))
    page.on("console", lambda message: _note(said, message))
    yield page
    assert said == [], said
    assert len(hosts - {""}) <= 1  # addresses of the forms data: and blob: have no host


def _note(said: list[str], message: ConsoleMessage) -> None:
    # What is refused is the page's own matter; violations of the policy are said here, too.
    if not message.text.startswith("Failed to load resource"):
        said.append(f"{message.type}: {message.text}")


def assert_accessible(page: Page) -> None:
    """No rule of accessibility is broken seriously."""
    found = Axe().run(page).response["violations"]
    serious = [rule for rule in found if rule["impact"] in ("serious", "critical")]
    broken = [(rule["id"], [node["target"] for node in rule["nodes"]]) for rule in serious]
    assert broken == [], broken
