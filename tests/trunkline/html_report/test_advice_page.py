from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

from tests.trunkline.steps import TEXTS, Run
from trunkline import Client
from trunkline.html_report import advice_page


def test_the_command_writes_a_page_with_the_curves(run: Run, table: Path, tmp_path: Path) -> None:
    page = tmp_path / "advice.html"
    assert run("advise", table, "--html", page).exit_code == 0
    text = page.read_text(encoding="utf-8")
    root = ElementTree.fromstring(text.encode())
    drawn = [row for row in root.iter("svg") if row.get("role") == "img"]
    titles = {row.findtext("title"): row for row in drawn}
    assert set(titles) == {"What could be done", "Learning curves"}
    assert "direct training from 80.0% to 90.0%" in (
        titles["Learning curves"].findtext("desc") or ""
    )
    assert len(list(titles["Learning curves"].iter("polyline"))) == 3
    assert (titles["Learning curves"].get("width"), titles["Learning curves"].get("height")) == (
        "480",
        "300",
    )
    words = " ".join("".join(root.itertext()).split())
    for wanted in ("Does transfer pay?", "mood.csv", "Transfer does not help.", "out of sight"):
        assert wanted in words
    assert "good" in words
    assert "<script" not in text


def test_pages_of_hostile_names_and_of_little_can_be_read(client: Client) -> None:
    advice = client.advise("acme", TEXTS)
    bare = replace(
        advice,
        options=tuple(
            replace(option, learning_curve=option.learning_curve[-1:], log_evidence=None)
            for option in advice.options
        ),
        labels_needed=(),
        near_duplicates=(),
        summary="<script>alert(1)</script>",
    )
    page = advice_page(bare, '"><img src=x>', {})
    root = ElementTree.fromstring(page.encode())
    assert not [row for row in root.iter() if row.tag in {"script", "img"}]
    titles = [row.text for row in root.iter("h2")]
    assert titles == ["Recommended: direct training", "What could be done", "Classes"]
