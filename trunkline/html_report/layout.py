"""What pages are laid out with: the page itself, tiles, sections, figures and legends."""

from collections.abc import Iterable

from trunkline.html_report.markup import Markup, tag
from trunkline.html_report.style import STYLE

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"


def document(title: str, *parts: Markup | None) -> str:
    """Writes a page, which needs no other file, no script and no network."""
    page = tag(
        "html",
        tag(
            "head",
            tag("meta", charset="utf-8"),
            tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
            tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
            tag("title", title),
            tag("style", Markup(STYLE)),
        ),
        tag("body", tag("main", *parts)),
        lang="en",
    )
    return f"<!DOCTYPE html>\n{page}\n"


def tiles(rows: Iterable[tuple[str, str, str]]) -> Markup:
    """Shows what is most important at a glance: name, value, and words below it."""
    cells = [
        tag("div", tag("dt", name), tag("dd", value, tag("small", words) if words else None))
        for name, value, words in rows
    ]
    return tag("dl", *cells, class_="tiles")


def section(title: str, *parts: Markup | None) -> Markup:
    """Puts a part of the page under its heading."""
    return tag("section", tag("h2", title), *parts)


def pair(*drawn: Markup | None) -> Markup:
    """Frames drawings or tables and puts them side by side."""
    return tag("div", *(tag("figure", one) for one in drawn if one), class_="pair")


def figure(
    title: str,
    drawn: Markup,
    words: str,
    legend: Markup | None = None,
) -> Markup:
    """Frames a drawing with its words, under a heading if there is one."""
    framed = tag("figure", drawn, legend, tag("figcaption", words))
    return section(title, framed) if title else framed


def legend(*, one: str, two: str | None, ideal: str | None = "perfect calibration") -> Markup:
    """Explains what the styles of a drawing stand for."""
    items = (("one", one), ("two", two), ("ideal", ideal))
    shown = (tag("li", name, class_=style) for style, name in items if name)
    return tag("ul", *shown, class_="legend")
