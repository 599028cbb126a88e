"""From an empty server to a head that was taught, asked, corrected and looked after, by mouse."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser import assert_accessible
from tests.console.steps import Console
from tests.e2e.processes import Running

pytestmark = [pytest.mark.long, pytest.mark.e2e]


def test_newcomer_teaches_a_head_tries_it_and_corrects_it(console: Console, photos: Path) -> None:
    page = console.page
    console.open()
    expect(page.get_by_role("heading", name="No head yet")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("link", name="Teach the first one").click()
    page.get_by_label("Name").fill("textile")
    page.get_by_role("button", name="Create").click()

    console.upload_folder(photos)
    expect(page.get_by_text("18 examples of 3 classes")).to_be_visible()
    expect(console.column("nominal").locator("img")).to_have_count(6)
    console.train()
    expect(page.locator("report-page").get_by_role("heading", name="Accuracy")).to_be_visible()
    assert_accessible(page)

    page.get_by_role("link", name="Try it").click()
    console.ask_files([photos / "global" / "0.jpg"])
    card = page.locator(".asked")
    expect(card.locator(".bars dt")).to_have_count(3)
    wrong = card.locator(".chip:not(.same)").first
    label = wrong.inner_text()
    wrong.click()
    expect(card.get_by_text(f"Learned: {label}")).to_be_visible()
    expect(card.get_by_text("live copy")).to_be_visible()
    expect(card.locator(".before").first).to_be_visible()
    assert_accessible(page)

    console.tab("Versions")
    page.get_by_role("button", name="Promote").click()
    expect(page.get_by_role("heading", name="Version 2", exact=True)).to_be_visible()
    page.get_by_label("Report of version 1").check()
    page.get_by_label("Report of version 2").check()
    expect(page.locator("report-page")).to_have_count(2)
    page.get_by_role("button", name="Activate").click()
    console.confirm("Go back")
    expect(page.locator(".versions li").nth(1).get_by_text("answers")).to_be_visible()
    page.locator(".versions li").nth(1).get_by_role("button", name="Pin").click()
    expect(page.get_by_text("pinned")).to_be_visible()
    page.locator(".versions li").first.get_by_role("button", name="Delete").click()
    console.confirm("Delete")
    expect(page.locator(".versions li")).to_have_count(1)
    assert_accessible(page)

    page.get_by_role("link", name="Heads", exact=True).first.click()
    row = page.locator(".heads li")
    expect(row.get_by_text("textile")).to_be_visible()
    expect(row.locator(".interval")).to_be_visible()
    assert_accessible(page)


def test_examples_are_relabelled_and_deleted_by_selection(
    console: Console, server: Running
) -> None:
    with server.client() as client:
        client.create_head("shelf/things", "minilm/l6-v2", keep_inputs=True)
        client.upload("shelf/things", [(f"thing number {at}", "ab"[at % 2]) for at in range(60)])
    page = console.page
    console.open("#/head/shelf/things/examples")
    expect(page.locator(".cell")).to_have_count(48)
    page.get_by_role("button", name="Show more").click()
    expect(page.locator(".cell")).to_have_count(60)
    assert_accessible(page)
    page.locator(".cell").nth(0).click()
    page.locator(".cell").nth(3).click(modifiers=["Shift"])
    expect(page.get_by_text("4 selected")).to_be_visible()
    page.get_by_label("New label").fill("c")
    page.get_by_role("button", name="Relabel").click()
    expect(page.get_by_text("4 labels changed")).to_be_visible()
    with server.client() as client:
        assert {row.label: row.example_count for row in client.labels("shelf/things")}["c"] == 4
    page.locator(".cell").nth(5).click()
    page.get_by_role("button", name="Delete", exact=True).last.click()
    console.confirm("Delete")
    expect(page.get_by_text("59 examples")).to_be_visible()


def test_head_is_deleted_after_a_question(console: Console) -> None:
    console.create("short-lived")
    console.page.get_by_role("button", name="Delete").click()
    console.confirm("Cancel")
    console.page.get_by_role("button", name="Delete").click()
    console.confirm("Delete it")
    expect(console.page.get_by_text("short-lived is deleted.")).to_be_visible()
