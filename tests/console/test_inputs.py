"""How inputs come in: dropped, chosen, written, shot; and uploads that go on where they stopped."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.console.steps import Console
from tests.e2e.processes import Running
from tests.e2e.samples import short_texts
from trunkline.digest import image_digest, text_digest

pytestmark = [pytest.mark.long, pytest.mark.e2e]

DROP = """([name, text, kind]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([text], name, {type: kind}));
    return transfer;
}"""


def test_table_of_texts_is_dropped_and_a_text_is_asked_about(
    console: Console, tmp_path: Path
) -> None:
    page = console.page
    console.create("reviews", "Texts")
    rows = short_texts(12)
    table = tmp_path / "reviews.csv"
    with table.open("w", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    given = ["reviews.csv", table.read_text(), "text/csv"]
    transfer = page.evaluate_handle(DROP, given)
    page.dispatch_event("take-inputs.drop", "drop", {"dataTransfer": transfer})
    expect(page.get_by_text("24 examples of 2 classes")).to_be_visible()
    console.column("positive").get_by_label("Texts of this class").fill("lovely\nvery good")
    console.column("positive").get_by_role("button", name="Add texts").click()
    expect(page.get_by_text("26 examples of 2 classes")).to_be_visible()
    console.train()
    console.tab("Try")
    page.get_by_role("textbox", name="Text", exact=True).fill("I love it")
    page.keyboard.press("Enter")
    expect(page.locator(".asked .bars dt")).to_have_count(2)


def test_camera_fills_a_class(console: Console) -> None:
    page = console.page
    console.create("shot")
    column = page.locator(".column.panel").first
    column.get_by_label("Name of the class").fill("test picture")
    column.get_by_role("button", name="Camera").click()
    shoot = column.get_by_role("button", name="Shoot")
    expect(column.locator("video")).to_have_js_property("videoWidth", 640)
    shoot.press("Enter")
    expect(column.get_by_text("1 example")).to_be_visible()
    expect(column.locator(".samples img")).to_have_count(1)


def test_upload_goes_on_where_it_stopped(console: Console, server: Running, photos: Path) -> None:
    page = console.page
    console.create("broken-off")
    page.route("**/examples", lambda route: route.abort())  # as if the server were gone
    page.clock.install()
    console.upload_folder(photos)
    for _ in range(8):  # it tries again, some times, and waits between
        page.clock.run_for(31_000)
        page.wait_for_timeout(50)
    expect(page.get_by_text("The server cannot be reached.")).to_be_visible()
    page.unroute("**/examples")
    page.get_by_role("button", name="Continue").click()
    expect(page.get_by_text("18 of 18")).not_to_be_visible()
    expect(page.get_by_text("18 examples of 3 classes")).to_be_visible()
    with server.client() as client:
        assert client.get_head("mine/broken-off").example_count == 18


def test_what_the_server_knows_is_not_sent_again(
    console: Console, server: Running, photos: Path
) -> None:
    page = console.page
    sent: list[dict[str, Any]] = []

    def note(route: Route) -> None:
        body: dict[str, Any] = route.request.post_data_json or {}
        sent.extend(body["examples"])
        route.continue_()

    page.route("**/examples", note)
    console.create("twice")
    for name in ("twice", "thrice"):
        if name == "thrice":
            console.open("#/head/mine/twice/teach")
        expect(page.locator(".column.panel").first).to_be_visible()
        with page.expect_response("**/examples"):
            console.upload_folder(photos)
        expect(page.get_by_text("examples of 3 classes")).to_be_visible()
    inputs = [list(row["input"]) for row in sent]
    assert inputs.count(["image"]) == 18
    assert inputs.count(["digest"]) == 18
    with server.client() as client:
        assert client.get_head("mine/twice").example_count == 18


def test_digests_are_those_of_the_client(console: Console) -> None:
    console.open()
    sizes = [0, 1, 3, 4, 63, 64, 65, 1023, 1024, 1025, 2048, 2049, 3072, 5121, 8192, 31744, 70_001]
    made = console.page.evaluate(
        """async (sizes) => {
            const {digestOf} = await import('/console/parts/blake3.js');
            return sizes.flatMap((size) => ['image', 'text'].map((kind) =>
                digestOf(kind, Uint8Array.from({length: size}, (_, at) => at % 251))));
        }""",
        sizes,
    )
    data = [bytes(at % 251 for at in range(size)) for size in sizes]
    assert made == [digest(one) for one in data for digest in (image_digest, text_digest)]
