import json
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trunkline import sample_reports
from tests.trunkline.recording import Recorder
from tests.trunkline.sample_reports import DIGEST, full_report
from tests.trunkline.steps import Run
from trunkline import Drift, LiveCopy, LiveState
from trunkline.digest import text_digest
from trunkline.html_report import report_page
from trunkline.replies.reports import report as read_report
from trunkline.values.reports import ClassReport, LearningPoint, Report, TuningEpoch

HOSTILE = ("<script>alert(1)</script>", '"><img src=x onerror=alert(1)>', "' onload='x", "]]>&lt;")
GEOMETRY = {"x", "y", "x1", "y1", "x2", "y2", "cx", "cy", "r", "width", "height", "points"}
LIVE = LiveCopy(
    state=LiveState.LEARNING,
    reason="",
    base_version=2,
    example_count=20,
    feedback_count=10,
    labels=("a", "b"),
    scored=10,
    active_right=7,
    live_right=9,
    evidence_better=3.5,
    evidence_worse=0.1,
    error_rate=0.05,
    active_leave_one_out=None,
    live_leave_one_out=None,
    drift=Drift(detected=False, time=None, window=10, accuracy=0.9),
)


def sample(*labels: str, **changes: Any) -> Report:
    found = read_report(full_report("tenants/acme/heads/mood", 2, labels or ("no", "yes")))
    return replace(found, **changes)


def page_of(report: Report, names: dict[str, str] | None = None) -> str:
    return report_page(report, {"family": report.family}, LIVE, names or {})


def parsed(page: str) -> ElementTree.Element:
    """The page as XML: a mistake in its markup is an error."""
    return ElementTree.fromstring(page.encode())


def elements(page: str) -> Iterator[ElementTree.Element]:
    return parsed(page).iter()


def words(page: str) -> str:
    return " ".join("".join(parsed(page).itertext()).split())


def drawings(page: str) -> dict[str, ElementTree.Element]:
    found = (row for row in elements(page) if row.tag == "svg" and row.get("role") == "img")
    return {row.findtext("title") or "": row for row in found}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def handle_starttag(self, tag: str, _: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)


def test_the_page_needs_nothing_but_itself() -> None:
    page = page_of(sample())
    for element in elements(page):
        assert element.tag not in {"script", "link", "img", "iframe", "object", "image", "use"}
        assert not {"src", "href", "{http://www.w3.org/1999/xlink}href"} & set(element.attrib)
    assert "url(" not in page
    assert "@import" not in page
    assert "default-src 'none'" in page.replace("&#x27;", "'")


def test_browsers_and_xml_parsers_see_the_same_elements() -> None:
    page = page_of(sample())
    tags = Tags()
    tags.feed(page)
    assert tags.names == [element.tag.lower() for element in elements(page)]
    assert page.startswith("<!DOCTYPE html>\n<html")


def test_labels_and_names_cannot_become_markup() -> None:
    page = page_of(sample(*HOSTILE, head=HOSTILE[0]), {DIGEST: HOSTILE[1]})
    for element in elements(page):
        assert element.tag not in {"script", "img"}
        assert not [name for name in element.attrib if name.startswith("on")]
    assert all(label in words(page) for label in HOSTILE)


@given(st.text(min_size=1), st.text(min_size=1))
def test_every_label_makes_a_page_that_can_be_read(first: str, second: str) -> None:
    parsed(page_of(sample(first, second), {DIGEST: first}))


def test_every_drawing_says_what_it_shows() -> None:
    found = drawings(page_of(sample()))
    assert set(found) == {
        "Expected accuracy",
        "Learning curve",
        "Reliability",
        "Precision against the share accepted",
        "Confusion matrix, estimates",
        "Confusion matrix, test set",
        "Families considered",
        "What augmentation brought",
        "What fine-tuning bought",
        "Loss by epoch",
        "Accuracy by epoch",
        "Accuracy on feedback",
    }
    assert all(row.findtext("desc") and row.get("aria-label") for row in found.values())
    curve = found["Learning curve"].findtext("desc") or ""
    assert "50.0% with 2" in curve
    assert "90.0% with 18" in curve


def test_drawings_over_two_axes_are_of_one_size() -> None:
    found = drawings(page_of(sample()))
    curves = ("Learning curve", "Reliability", "Loss by epoch", "Accuracy by epoch")
    sizes = {(found[name].get("width"), found[name].get("height")) for name in curves}
    online = found["Accuracy on feedback"]
    assert sizes == {("480", "300")} == {(online.get("width"), online.get("height"))}
    others = {row.get("width") for name, row in found.items() if "matrix" not in name}
    assert others == {"480"}


def test_figures_stand_below_their_headers_and_labels_are_none() -> None:
    page = parsed(page_of(sample("7", "8")))
    for table in page.iter("table"):
        heads = [row.get("class") == "number" for row in table.findall("thead/tr/th")]
        assert not heads[0]
        for line in table.findall("tbody/tr"):
            cells = [cell.get("class") in {"number", "gauge"} for cell in line]
            assert cells == heads, table.findtext("caption")
        names = [row.text for row in table.findall("thead/tr/th")]
        for column in ("label", "taken for", "the others say", "outcome"):
            assert column not in names or not heads[names.index(column)]
        for column in ("accuracy", "precision", "feature extraction", "cosine", "time (UTC)"):
            assert column not in names or heads[names.index(column)]


def test_live_copy_that_answers_is_in_the_headline() -> None:
    answering = replace(LIVE, state=LiveState.SERVING)
    tiles = parsed(report_page(sample(), {}, answering, {})).find(".//dl[@class='tiles']/div")
    assert tiles is not None
    assert "".join(tiles.itertext()) == (
        "live copy, which answers90.0%of 10 feedbacks; version 2: 70.0%"
    )
    for other in (LIVE, None, replace(answering, scored=0, live_right=0, active_right=0)):
        assert "which answers" not in words(report_page(sample(), {}, other, {}))


def test_the_page_has_what_the_terminal_prints_of_feedback() -> None:
    report = sample()
    tables = parsed(page_of(report)).iter("table")
    captions = {table.findtext("caption"): table for table in tables}
    lines = captions["Each feedback was scored before it was learned."].findall("tbody/tr")
    assert [[cell.text for cell in line][:4] for line in lines] == [
        ["10", "10", "70.0%", "60.0%"],
        ["20", "10", "70.0%", "90.0%"],
    ]
    one = page_of(replace(report, online=report.online[:1]))
    assert "Accuracy on feedback" not in drawings(one)
    assert "Each feedback was scored before it was learned." in words(one)


def test_accuracy_on_feedback_is_told_apart_for_version_and_live_copy() -> None:
    drawn = drawings(page_of(sample()))["Accuracy on feedback"]
    assert "at the end: active version 70.0%, live copy 90.0%" in (drawn.findtext("desc") or "")
    titles = {row.text for row in drawn.iter("title")}
    assert {f"active version, to feedback {at}: 70.0%" for at in (10, 20)} <= titles
    assert {
        "live copy, to feedback 10: 60.0%",
        "live copy, to feedback 20: 90.0%",
    } <= titles


def test_every_table_has_a_caption_and_headers() -> None:
    page = parsed(page_of(sample()))
    tables = list(page.iter("table"))
    assert len(tables) > 5
    for table in tables:
        assert table.findtext("caption")
        assert all(row.get("scope") == "col" for row in table.findall("thead/tr/th"))
        assert all(row.find("th") is not None for row in table.findall("tbody/tr"))


def test_the_matrix_counts_what_is_taken_for_what() -> None:
    report = sample("cat", "dog")
    cells = drawings(page_of(report))["Confusion matrix, estimates"]
    titles = [row.text for row in cells.iter("title")]
    assert "cat, recognised: 8 (89%)" in titles
    assert "cat taken for dog: 1 (11%)" in titles


def test_the_test_set_stands_beside_the_estimates() -> None:
    text = words(page_of(sample()))
    assert "estimate (leave-one-out)" in text
    assert "test set" in text
    assert "F1, test" in text
    without = words(page_of(sample(test=None)))
    assert "test set" not in without


def test_what_a_report_has_not_the_page_has_not() -> None:
    bare = sample(
        estimate=None,
        evaluation=None,
        test=None,
        candidates=(),
        learning_curve=(),
        decisions=None,
        likely_mislabelled=(),
        near_duplicates=(),
        augmentation=None,
        fine_tuning=None,
        novelty=None,
        online=(),
        classes=(ClassReport("a", 1), ClassReport("b", 1)),
    )
    page = report_page(bare, {}, None, {})
    assert drawings(page) == {}
    headings = [row.text for row in parsed(page).iter("h2")]
    assert headings == ["Accuracy", "Classes", "How it was made"]
    assert "Unknown" in words(page)


def test_a_curve_of_one_point_is_not_drawn() -> None:
    page = page_of(sample(learning_curve=(LearningPoint(4, 0.5),)))
    assert "Learning curve" not in drawings(page)


@pytest.mark.parametrize("count", [2, 12, 13, 40])
def test_any_number_of_classes_has_a_matrix(count: int) -> None:
    labels = [f"class {number}" for number in range(count)]
    cells = drawings(page_of(sample(*labels)))["Confusion matrix, estimates"]
    titles = [row.text or "" for row in cells.iter("title")]
    assert sum(": 8" in title for title in titles) == count


def test_too_many_classes_are_not_drawn() -> None:
    page = page_of(sample(*(f"class {number}" for number in range(61))))
    assert "Confusion matrix, estimates" not in drawings(page)
    assert "61 classes are too many to draw" in words(page)


def test_numbers_of_drawings_are_plain() -> None:
    found = drawings(page_of(sample()))
    assert found
    for title, drawing in found.items():
        shapes = [row for row in drawing.iter() if row.tag != "svg"]
        numbers = [row.attrib[name] for row in shapes for name in GEOMETRY & set(row.attrib)]
        assert numbers, title
        for number in " ".join(numbers).replace(",", " ").split():
            assert re.fullmatch(r"-?[0-9]+(\.[0-9]+)?", number), (title, number)


def test_the_command_writes_the_page_and_escapes_labels(
    run: Run, recorder: Recorder, table: Path, tmp_path: Path
) -> None:
    table.write_text("text,label\na,<script>\nb,<script>\nc,x & y\nd,x & y\n", encoding="utf-8")
    run("train", "acme/mood", table)
    page = tmp_path / "report.html"
    result = run("report", "acme/mood", "--html", page, "--data", table)
    assert result.exit_code == 0
    assert f"wrote {page}\n" in result.stderr
    text = page.read_text(encoding="utf-8")
    assert "<script" not in text
    assert "90.0%" in words(text)
    assert "Was 'yes' meant?" in words(text)
    assert "of which 2 are longer than the backbone's window" in words(text)
    shown = " ".join(run("report", "acme/mood").stdout.split())
    for place in (words(text), shown):
        assert "7 of 18 examples; 3 named; near-copies: 5 within classes, 1 across" in place
    assert "texts cut at the window 2" in shown
    assert "most frequent class 50.0%, always answering <script>" in shown
    assert DIGEST[:16] in words(text)


def test_page_that_has_no_folder_is_refused_before_anything_is_asked(
    run: Run, recorder: Recorder, table: Path, tmp_path: Path
) -> None:
    for command in (["report", "acme/mood"], ["advise", table]):
        result = run(*command, "--html", tmp_path / "none" / "page.html")
        assert result.exit_code == 2
        assert f"there is no folder {tmp_path / 'none'}" in result.stderr
    assert recorder.asked("GetHeadReport") == recorder.asked("Advise") == []


def test_examples_go_by_their_names_in_the_data_on_the_page_and_the_terminal(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_reports, "DIGEST", text_digest("awful"))
    run("train", "acme/mood", table)
    page = tmp_path / "report.html"
    result = run("report", "acme/mood", "--html", page, "--data", table)
    text = page.read_text(encoding="utf-8")
    rows = [row.text for row in elements(text) if row.tag == "th" and row.get("scope") == "row"]
    assert rows.count("awful") == 2  # perhaps mislabelled, and nearly the same as another
    assert sum(line.startswith("- awful") for line in result.stdout.splitlines()) == 2
    for shown in (text, result.stdout):
        assert text_digest("awful")[:16] not in shown
        assert sample_reports.OTHER[:16] in shown  # which the data do not have


def test_examples_go_by_their_external_ids_on_the_page_the_terminal_and_in_json(
    run: Run, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sample_reports, "NAME", "cats/<7>.jpg")
    run("train", "acme/mood", table)
    page = tmp_path / "report.html"
    result = run("report", "acme/mood", "--html", page)
    text = page.read_text(encoding="utf-8")
    rows = [row.text for row in elements(text) if row.tag == "th" and row.get("scope") == "row"]
    assert rows.count("cats/<7>.jpg") == 2
    assert sum(line.startswith("- cats/<7>.jpg") for line in result.stdout.splitlines()) == 2
    for shown in (text, result.stdout):
        assert DIGEST[:16] not in shown
        assert sample_reports.OTHER[:16] in shown
    document = json.loads(run("report", "acme/mood", "--json").stdout)
    assert document["likely_mislabelled"][0]["external_id"] == "cats/<7>.jpg"
    pair = document["near_duplicates"][0]
    assert (pair["external_id"], pair["other_external_id"]) == ("cats/<7>.jpg", None)


def test_the_command_prints_every_part(run: Run, table: Path) -> None:
    run("train", "acme/mood", table)
    run("feedback", "acme/mood", "--text", "good", "no")
    text = run("report", "acme/mood", 1).stdout
    for part in (
        "test set beside the estimates",
        "classes",
        "classes on the test set",
        "confusion matrix, estimates",
        "learning curve",
        "perhaps mislabelled",
        "nearly the same under two labels",
        "families considered",
        "augmentation: 4 views of each of 17 examples",
        "fine-tuning beside feature extraction, on the same folds",
        "fine-tuning by epoch, means over the folds",
        "novelty",
        "accuracy on feedback",
        "live copy",
    ):
        assert part in text
    assert "90.0% (80.0% to 95.0%)" in text
    assert f"{DIGEST[:16]}…" in text


def test_labels_are_printed_as_they_are(run: Run, recorder: Recorder, table: Path) -> None:
    table.write_text("text,label\na,[bold]x\nb,:smile:\n")
    run("train", "acme/mood", table)
    text = run("report", "acme/mood").stdout
    assert "[bold]x" in text
    assert ":smile:" in text


def test_the_document_holds_all_numbers(run: Run, table: Path) -> None:
    run("train", "acme/mood", table)
    document = json.loads(run("report", "acme/mood", "--json").stdout)
    assert document["evaluation"]["confusion"] == [[8, 1], [1, 8]]
    assert document["test"]["expected_calibration_error"] == 0.031
    assert document["online"][1]["live_accuracy"] == 0.9
    assert document["live"]["state"] == "idle"
    assert document["likely_mislabelled"][0]["digest"] == DIGEST


def test_a_version_is_named_once(run: Run, table: Path) -> None:
    run("train", "acme/mood", table)
    run("train", "acme/mood", table)
    by_option = json.loads(run("report", "acme/mood", "--version", 1, "--json").stdout)
    by_argument = json.loads(run("report", "acme/mood", 1, "--json").stdout)
    assert by_option == by_argument
    assert (by_option["version"], by_option["live"]) == (1, None)
    assert run("report", "acme/mood", 1, "--version", 2).exit_code == 2


def test_fine_tuning_stands_beside_feature_extraction() -> None:
    page = page_of(sample())
    text = words(page)
    assert "on a fine-tuned tail of minilm/l6-v2" in text
    assert "runs on a tail of its own: it is better." in text
    assert "Strategy gradual (blocks.3, blocks.4), 2 epochs of 3.50 s." in text
    assert "75.25 s" in text
    assert "4.2 MB" in text
    found = drawings(page)
    both = found["What fine-tuning bought"].findtext("desc") or ""
    assert "feature extraction 85.0% (75.0% to 90.0%); fine-tuned 90.0%" in both
    losses = found["Loss by epoch"].findtext("desc") or ""
    assert losses.startswith("On held-out examples from 0.500 to 0.300")


def test_views_that_were_tried_and_what_averaging_over_them_brings_are_shown() -> None:
    text = words(page_of(sample()))
    assert "Views that it was tuned on beside each image: 3 flips." in text
    assert "chosen: the log-loss is lower than without" in text
    assert "not tried: too few epochs" in text
    assert "passes a prediction" in text
    found = sample().fine_tuning
    assert found is not None
    none = words(page_of(sample(fine_tuning=replace(found, view_count=0, tried=(), averaged=None))))
    assert "beside each image: none." in none
    assert "passes a prediction" not in none


def test_a_tail_that_is_not_used_is_reported_with_its_reason() -> None:
    found = sample().fine_tuning
    assert found is not None
    idle = replace(found, used=False, reason="no better", with_tail=None)
    page = page_of(sample(fine_tuning=idle))
    assert "runs on the backbone as everybody does: no better." in words(page)
    assert "A ridge head on minilm/l6-v2" in words(page)
    bare = replace(idle, without_tail=None, curve=found.curve[:1], blocks=(), epochs=0)
    assert not {"What fine-tuning bought", "Loss by epoch"} & set(
        drawings(page_of(sample(fine_tuning=bare)))
    )


@given(st.lists(st.floats(min_value=0), min_size=2, max_size=40), st.integers(0, 50))
def test_every_curve_of_epochs_can_be_drawn(losses: list[float], taken: int) -> None:
    found = sample().fine_tuning
    assert found is not None
    curve = tuple(TuningEpoch(at, loss, loss, 0.5) for at, loss in enumerate(losses, 1))
    page = page_of(sample(fine_tuning=replace(found, curve=curve, epochs=taken)))
    assert "nan" not in page
    assert "inf" not in page
