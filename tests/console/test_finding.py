"""What a person finds: examples by words and by likeness, and the reasons beside an answer."""

from __future__ import annotations

import pytest
from playwright.sync_api import expect

from tests.browser import assert_accessible
from tests.console.steps import Console
from tests.e2e.processes import Running
from trunkline import NewExample

pytestmark = [pytest.mark.long, pytest.mark.e2e]

HEAD = "shelf/letters"
LATE = [f"the parcel came {days} days late" for days in ("two", "three", "four", "nine", "ten")]
KIND = [f"the staff in the {room} were kind" for room in ("bar", "hall", "lobby", "spa", "pool")]
ROWS = [
    *(NewExample(text, "late") for text in LATE),
    *(NewExample(text, "kind", metadata={"shop": "north"}) for text in KIND),
]


@pytest.fixture(scope="module")
def taught(server: Running) -> str:
    """The place of a head of two versions."""
    with server.client() as client:
        client.create_head(HEAD, "minilm/l6-v2", keep_inputs=True)
        client.upload(HEAD, ROWS)
        for _ in range(2):
            client.train(HEAD)
    return f"#/head/{HEAD}"


def test_examples_are_searched_by_words_and_by_metadata(console: Console, taught: str) -> None:
    page = console.page
    console.open(f"{taught}/examples")
    expect(page.locator(".cell")).to_have_count(len(ROWS))
    search = page.get_by_label("Search")
    search.fill("parcel")
    search.press("Enter")
    expect(page.locator(".cell")).to_have_count(len(LATE))
    expect(page.locator(".cell .label")).to_have_text(["late"] * len(LATE))
    search.fill("shop=north")
    search.press("Enter")
    expect(page.locator(".cell")).to_have_count(len(KIND))
    expect(page.locator(".cell .label")).to_have_text(["kind"] * len(KIND))
    page.get_by_label("Class").select_option("late")
    expect(page.get_by_role("heading", name="None of these")).to_be_visible()
    assert_accessible(page)


def test_what_is_like_an_example_is_shown_nearest_first(console: Console, taught: str) -> None:
    page = console.page
    console.open(f"{taught}/examples")
    page.locator(".cell").filter(has_text=LATE[0]).click()
    page.get_by_role("button", name="Find similar").click()
    tags = page.locator(".cell .tag.two")
    expect(tags).to_have_count(len(ROWS) - 1)
    shown = [float(words.removeprefix("like it: ")) for words in tags.all_inner_texts()]
    assert shown == sorted(shown, reverse=True)
    assert page.locator(".cell .label").all_inner_texts()[:3] == ["late"] * 3


def test_answer_shows_the_nearest_examples_and_the_decision(
    console: Console, server: Running, taught: str
) -> None:
    page = console.page
    with server.client() as client:
        client.update_head(HEAD, decide=0.99)  # more than so few examples can promise
    console.open(f"{taught}/try")
    page.get_by_role("textbox", name="Text", exact=True).fill(LATE[0])
    page.keyboard.press("Enter")
    card = page.locator(".asked")
    expect(card.locator(".near li")).to_have_count(5)
    expect(card.locator(".near li").first).to_contain_text(LATE[0])
    expect(card.locator(".near li").first).to_have_attribute("title", "similarity 1.000")
    expect(card.get_by_text("for review")).to_be_visible()
    assert_accessible(page)


def test_later_version_is_activated_and_rolled_back(
    console: Console, server: Running, taught: str
) -> None:
    page = console.page
    console.open(f"{taught}/versions")
    rows = page.locator(".versions li")
    expect(rows).to_have_count(2)
    for at, act in ((1, "Go back"), (0, "Activate")):
        rows.nth(at).get_by_role("button", name="Activate").click()
        console.confirm(act)
        expect(rows.nth(at).get_by_text("answers")).to_be_visible()
        expect(rows.nth(1 - at).get_by_text("answers")).to_have_count(0)
        with server.client() as client:
            assert client.get_head(HEAD).active_version == 2 - at


def test_answer_says_that_it_stands_on_descriptions(console: Console, server: Running) -> None:
    page = console.page
    with server.client() as client:
        client.create_head("shelf/described", "minilm/l6-v2")
        client.describe_labels("shelf/described", {"late": "a parcel is late", "kind": "staff"})
        client.train("shelf/described")
    console.open("#/head/shelf/described/try")
    page.get_by_role("textbox", name="Text", exact=True).fill(LATE[0])
    page.keyboard.press("Enter")
    expect(page.locator(".asked").get_by_text("by description")).to_be_visible()
