"""Every page, narrow and wide, light and dark, with nothing, one and many; by keyboard alone."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, ViewportSize, expect

from tests.browser import assert_accessible, watched
from tests.console.steps import Console
from tests.e2e.processes import Running
from tests.e2e.samples import short_texts, textile_photos

pytestmark = [pytest.mark.long, pytest.mark.e2e]

PLACES = {
    "#/heads": ".heads li",
    "#/new": "form",
    "#/head/many/none/teach": ".column",
    "#/head/many/none/try": ".nothing",
    "#/head/many/none/examples": ".nothing",
    "#/head/many/none/versions": ".nothing",
    "#/head/many/none/review": ".nothing",
    "#/head/many/one/teach": ".column .text",
    "#/head/many/one/examples": ".cell",
    "#/head/many/photos/teach": ".column img",
    "#/head/many/photos/try": "take-inputs",
    "#/head/many/photos/examples": ".cell img",
    "#/head/many/photos/versions": ".versions .panel",
    "#/head/many/texts/examples": ".cell .text",
    "#/head/many/texts/review": ".judged",
    "#/keys": "form",
    "#/usage": ".chart",
    "#/audit": ".panel",
}


@pytest.fixture(scope="module")
def filled(server: Running) -> Running:
    """A server with heads of all kinds, sixty in all: a page has fifty."""
    with server.client() as client:
        for name in ("none", *(f"further-{at:02}" for at in range(56))):
            client.create_head(f"many/{name}", "minilm/l6-v2")
        client.create_head("many/one", "minilm/l6-v2", keep_inputs=True)
        client.upload("many/one", [("a text without a space" * 40, "a" * 100)])
        client.create_head("many/photos", "efficientnet/lite0", keep_inputs=True)
        client.upload("many/photos", textile_photos(5))
        client.train("many/photos")
        client.create_head("many/texts", "minilm/l6-v2", keep_inputs=True)
        texts = short_texts(60)
        client.upload("many/texts", texts[:60])
        client.upload("many/texts", [(text, None) for text, _ in texts[60:]])
        client.train("many/texts")
    return server


@pytest.fixture(params=[(360, "light"), (360, "dark"), (2560, "light"), (2560, "dark")], ids=str)
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    width, scheme = request.param
    size = ViewportSize(width=width, height=900)
    context = browser.new_context(viewport=size, color_scheme=scheme)
    context.set_default_timeout(60_000)
    with watched(context) as page:
        yield page
    context.close()


def test_nothing_is_wider_than_the_page_and_all_can_be_read(page: Page, filled: Running) -> None:
    console = Console(page, filled.rest)
    for place, shown in PLACES.items():
        console.open(place)
        expect(page.locator(shown).first).to_be_visible()
        widths = "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
        wide, has = page.evaluate(widths)
        assert wide <= has, place
        assert_accessible(page)


def test_heads_come_in_pages(browser: Browser, filled: Running) -> None:
    with watched(browser.new_context()) as page:
        Console(page, filled.rest).open()
        expect(page.locator(".heads li")).to_have_count(50)
        page.get_by_role("button", name="Show more").click()
        expect(page.locator(".heads li")).to_have_count(60)
        page.context.close()


def test_texts_are_reviewed_by_keyboard_alone(browser: Browser, filled: Running) -> None:
    with filled.client() as client:
        before = client.get_head("many/texts").labelled_count
    with watched(browser.new_context()) as page:
        Console(page, filled.rest).open("#/head/many/texts/review")
        picture = page.locator(".judged .text")
        for done in range(1, 31):
            expect(picture).to_be_visible()
            page.keyboard.press("12"[done % 2])
            expect(page.get_by_text(f"{done} judgement")).to_be_visible()
        last = picture.inner_text()
        page.keyboard.press("1")
        expect(page.get_by_text("31 judgements")).to_be_visible()
        page.keyboard.press("u")
        expect(picture).to_have_text(last)
        page.keyboard.press("Enter")
        expect(page.get_by_text("31 judgements")).to_be_visible()
        page.keyboard.press("s")
        expect(page.get_by_text("32 judgements")).to_be_visible()
        page.context.close()
    with filled.client() as client:
        assert client.get_head("many/texts").labelled_count == before + 31


def test_a_head_is_reached_and_asked_by_keyboard_alone(browser: Browser, filled: Running) -> None:
    with watched(browser.new_context()) as page:
        Console(page, filled.rest).open()
        expect(page.locator(".heads li").first).to_be_visible()
        page.locator(".skip").focus()
        page.keyboard.press("Enter")  # to what the page is about
        focus(page, ".button.main")
        focus(page, ".heads a")
        Console(page, filled.rest).open("#/head/many/texts/try")
        expect(page.locator("textarea")).to_be_visible()
        focus(page, "textarea")
        page.keyboard.type("I love it")
        page.keyboard.press("Enter")
        expect(page.locator(".asked .bars")).to_be_visible()
        focus(page, ".chip")
        page.keyboard.press("Enter")
        expect(page.get_by_text("Noted")).to_be_visible()
        page.context.close()


def focus(page: Page, wanted: str) -> None:
    """Goes on with the tabulator until something wanted has the focus."""
    for _ in range(60):
        page.keyboard.press("Tab")
        if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
            return
    raise AssertionError(f"{wanted} cannot be reached")
