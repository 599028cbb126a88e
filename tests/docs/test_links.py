"""Every link between the pages leads somewhere; none is followed into the network."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.e2e.processes import ROOT

FOLDERS = (".", "docs", "docs/clients", "tests", "deploy", "examples")
PAGES = sorted(path for folder in FOLDERS for path in (ROOT / folder).glob("*.md"))
ELSEWHERE = {"http", "https", "mailto"}

FENCED = re.compile(r"^ *(```|~~~).*?^ *\1 *$", re.DOTALL | re.MULTILINE)
CODE = re.compile(r"(?<!`)(`+)(?!`).+?(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^\s()<>]*(?:\([^\s()]*\)[^\s()<>]*)*)>?(?:\s+\"[^\"]*\")?\s*\)")
REFERENCE = re.compile(r"^ {0,3}\[[^\]]+\]:\s*<?([^\s>]+)", re.MULTILINE)
HTML = re.compile(r"<(?:a|img|source)\b[^>]*?\b(?:href|src|srcset)=\"([^\"]*)\"")
NAMED = re.compile(r"<a\b[^>]*?\b(?:id|name)=\"([^\"]*)\"")
HEADING = re.compile(r"^ {0,3}#{1,6} +(.+?)(?: +#+)? *$", re.MULTILINE)


def links(text: str) -> list[str]:
    """What a page links to, in its order by form."""
    prose = CODE.sub("", FENCED.sub("", text))
    return [found for form in (LINK, REFERENCE, HTML) for found in form.findall(prose)]


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings as GitHub makes them, and those that HTML names."""
    prose = FENCED.sub("", text)
    seen: Counter[str] = Counter()
    found = set(NAMED.findall(prose))
    for heading in HEADING.findall(prose):
        words = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
        slug = re.sub(r"[^\w\- ]", "", words.strip().lower()).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken(page: Path) -> list[str]:
    """The page's links that lead nowhere."""
    text = page.read_text(encoding="utf-8")
    wrong = []
    for link in links(text):
        url = urlsplit(link)
        if url.scheme in ELSEWHERE:
            continue
        # A path from the root, as `/docs/cli.md`, is that of the host and not of the checkout.
        target = (page.parent / unquote(url.path)).resolve() if url.path else page
        inside = target.is_relative_to(ROOT.resolve()) and target.exists()
        if not inside or (url.fragment and unquote(url.fragment) not in _anchors_of(target)):
            wrong.append(link)
    return wrong


def _anchors_of(target: Path) -> set[str]:
    return anchors(target.read_text(encoding="utf-8")) if target.suffix == ".md" else set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_of_the_page_lead_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_the_pages_that_people_begin_with_are_looked_at() -> None:
    names = {str(page.relative_to(ROOT)) for page in PAGES}
    assert {"README.md", "CONTRIBUTING.md", "SECURITY.md"} <= names
    assert {"tests/README.md", "examples/README.md", "docs/cli.md"} <= names


def test_links_are_found_in_every_form() -> None:
    text = (
        '[a\nb](one.md) ![c](two.png "title") [`d`](three.md#x) [e](four(1).md)\n'
        '<img src="five.png">\n\n[f]: six.md\n\n`[g](no.md)`\n\n```\n[h](no.md)\n```\n'
    )
    assert links(text) == [
        "one.md", "two.png", "three.md#x", "four(1).md", "six.md", "five.png",
    ]  # fmt: skip


def test_anchors_are_those_that_github_makes() -> None:
    text = (
        "# What's `--new`, and [old](x.md)?\n## A & B\n## Same\n## Same\n## Ünder_score\n"
        "```\n# no heading\n```\n"
    )
    assert anchors(text) == {
        "whats---new-and-old", "a--b", "same", "same-1", "ünder_score",
    }  # fmt: skip


def test_a_link_to_nothing_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# There\n", encoding="utf-8")
    page.write_text(
        "# Here\n[1](#here) [2](other.md#there) [3](other.md#gone) [4](gone.md) [5](#gone) "
        "[6](../beyond.md) [7](https://example.com/gone)\n",
        encoding="utf-8",
    )
    assert broken(page) == ["other.md#gone", "gone.md", "#gone", "../beyond.md"]
