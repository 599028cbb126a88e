"""What a person does in the console, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from playwright.sync_api import Locator, Page, expect

expect.set_options(timeout=60_000)


class Console:
    """A page that shows the console."""

    def __init__(self, page: Page, rest: str) -> None:
        self.page = page
        self._rest = rest

    def open(self, place: str = "#/heads") -> None:
        """Opens a place by its address, as a link or a reload does."""
        self.page.goto("about:blank")
        self.page.goto(f"{self._rest}/console{place}")

    def create(self, name: str, kind: str = "Pictures", tenant: str = "mine") -> None:
        """Makes a head, and is where it is taught."""
        self.open("#/new")
        self.page.get_by_label("Name").fill(name)
        self.page.get_by_label("Tenant").fill(tenant)
        self.page.get_by_label(kind).check()
        self.page.get_by_role("button", name="Create").click()
        expect(self.page.get_by_role("heading", name=name)).to_be_visible()
        expect(self.page.get_by_text("Two classes with some examples")).to_be_visible()

    def upload_folder(self, folder: Path) -> None:
        """Chooses a folder, whose sub-folders are classes."""
        self.page.locator("take-inputs.drop input[webkitdirectory]").set_input_files(folder)

    def column(self, label: str) -> Locator:
        """The column of a class."""
        return self.page.get_by_role("region", name=label, exact=True)

    def train(self) -> None:
        """Presses the button, and waits for the version."""
        self.page.get_by_role("button", name="Train", exact=True).click()
        expect(self.page.get_by_role("heading", name="is trained")).to_be_visible()

    def tab(self, name: str) -> None:
        self.page.locator(".tabs").get_by_role("link", name=name).click()

    def ask_files(self, files: Sequence[Path]) -> None:
        """Asks the head about files."""
        self.page.locator("try-tab input[type=file]").first.set_input_files(files)

    def confirm(self, act: str) -> None:
        """Presses a button of the dialog that is open."""
        self.page.locator("dialog").get_by_role("button", name=act).click()
