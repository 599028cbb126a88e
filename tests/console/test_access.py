"""Who sees what: a server that asks for keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from tests.browser import assert_accessible
from tests.console.steps import Console
from tests.e2e.processes import Running, serve_command, serving

pytestmark = [pytest.mark.long, pytest.mark.e2e]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Running]:
    """A server that asks for keys, with an operator's."""
    folder = tmp_path_factory.mktemp("asking")
    command = serve_command(folder / "data", "--auth", "required")
    with serving(command, folder / "log") as running:
        running.token = (folder / "data" / "operator.key").read_text().strip()
        with running.client() as client:
            client.create_head("acme/sorting", "minilm/l6-v2")
        yield running


def sign_in(console: Console, key: str) -> Page:
    page = console.page
    console.open()
    page.get_by_label("Key").fill(key)
    page.get_by_role("button", name="Continue").click()
    return page


def test_key_is_asked_for_once_and_kept_out_of_addresses(console: Console, server: Running) -> None:
    page = sign_in(console, "tlk_nonsense")
    expect(page.get_by_text("does not know this key")).to_be_visible()
    assert_accessible(page)
    asked: list[str] = []
    page.on("request", lambda sent: asked.append(sent.url))
    sign_in(console, server.token)
    expect(page.locator(".heads").get_by_text("sorting")).to_be_visible()
    page.reload()
    expect(page.locator(".heads").get_by_text("sorting")).to_be_visible()
    assert not any(server.token in url for url in asked)
    assert page.evaluate("localStorage.length") == 0
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_label("Key")).to_be_visible()
    assert page.evaluate("sessionStorage.length") == 0


def test_operator_makes_rotates_and_revokes_a_key(console: Console, server: Running) -> None:
    page = sign_in(console, server.token)
    page.get_by_role("link", name="Keys").click()
    page.get_by_label("What it is for").fill("the sorting line")
    page.get_by_label("Tenant").fill("acme")
    page.get_by_role("button", name="Make the key").click()
    secret = page.locator(".secret")
    expect(secret).to_contain_text("tlk_")
    made = secret.inner_text()
    assert_accessible(page)
    row = page.get_by_role("row", name="the sorting line")
    row.get_by_role("button", name="Rotate").click()
    page.locator("dialog select").select_option("3600")
    page.locator("dialog").get_by_role("button", name="Rotate").click()
    expect(secret).not_to_have_text(made)
    row.first.get_by_role("button", name="Revoke").click()
    console.confirm("Revoke")
    expect(page.get_by_text("revoked")).to_be_visible()
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_text("RevokeKey")).to_be_visible()
    page.get_by_label("Method").fill("RotateKey")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_text("RevokeKey")).not_to_be_visible()
    assert_accessible(page)
    page.get_by_role("link", name="Usage").click()
    expect(page.get_by_role("row", name="acme")).to_be_visible()
    assert_accessible(page)


def test_key_that_may_only_predict_sees_no_more(console: Console, server: Running) -> None:
    with server.client() as client:
        key = client.create_key(tenant="acme", roles=["predict"], note="asks")
    page = sign_in(console, key.text)
    expect(page.locator(".heads").get_by_text("sorting")).to_be_visible()
    assert page.locator("#places a").all_inner_texts() == ["Heads"]
    expect(page.get_by_role("link", name="New head")).to_have_count(0)
    page.get_by_role("link", name="sorting").click()
    expect(page.get_by_role("heading", name="sorting")).to_be_visible()
    expect(page.locator(".tabs a")).to_have_text(["Try", "Versions"])
    expect(page.get_by_role("button", name="Delete")).to_have_count(0)
