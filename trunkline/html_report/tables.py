"""Tables of the page."""

import re
from collections.abc import Iterable, Mapping, Sequence

from trunkline.html_report.markup import Markup, join, tag
from trunkline.html_report.svg import shortened
from trunkline.values.estimates import Estimate
from trunkline.values.reports import ClassReport, Evaluation, NearDuplicates, Report
from trunkline.wording import NONE, percent

Cell = str | int | float | None

_FIGURE = re.compile(r"[-+]?[0-9][0-9.,e+-]*( ?(%|s|B|kB|MB))?|[0-9-]{10}\s[0-9:]{5}")
_MISSING = frozenset({NONE, "left out", "out of sight", "not tried", "unknown"})

QUALITY = ("accuracy", "lower end, 95 %", "upper end, 95 %", "log-loss")


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Cell | Markup]],
    *,
    caption: str,
    chosen: int | None = None,
) -> Markup:
    """Writes a table. The first cell of a row is its header; figures stand to the right.

    Words of others, such as labels, come as markup, or a class called 7 would be taken for one.
    """
    lines = [list(row) for row in rows]
    numeric = [False, *(_are_figures([row[at] for row in lines]) for at in range(1, len(columns)))]
    head = [
        tag("th", name, scope="col", class_="number" if right else None)
        for name, right in zip(columns, numeric, strict=True)
    ]
    body = [
        tag(
            "tr",
            tag("th", _shown(row[0]), scope="row"),
            *(_data(value, right) for value, right in zip(row[1:], numeric[1:], strict=True)),
            class_="chosen" if number == chosen else None,
        )
        for number, row in enumerate(lines)
    ]
    return tag(
        "div",
        tag(
            "table",
            tag("caption", caption),
            tag("thead", tag("tr", *head)),
            tag("tbody", *body),
        ),
        class_="scroll",
    )


def classes(report: Report) -> Markup:
    """Lists each class: examples, precision, recall and F1; those on the test set beside them."""
    tested = {row.label: row for row in report.test.classes} if report.test else {}
    figures = ["precision", "recall", "F1"]
    columns = ["class", "examples", *figures]
    if tested:
        columns += ["test set", *(f"{name}, test" for name in figures)]
    rows = []
    for row in report.classes:
        cells: list[Cell | Markup] = [join(row.label), row.examples, *_figures(row, "one")]
        if tested:
            found = tested.get(row.label)
            measured = _figures(found, "two") if found else [None] * 3
            cells += [found.examples if found else 0, *measured]
        rows.append(cells)
    return table(columns, rows, caption="Of examples the scoring model had not seen.")


def beside(estimated: Evaluation, test: Evaluation | None) -> Markup:
    """Shows accuracy, log-loss and calibration, on the test set beside the estimates."""
    columns = ["", f"estimate ({estimated.estimate.method})"]
    evaluations = [estimated]
    if test:
        columns.append("test set")
        evaluations.append(test)
    names = (*QUALITY, "expected calibration error", "examples")
    figures = (
        (
            *quality(row.estimate),
            f"{row.expected_calibration_error:.4f}",
            f"{sum(map(sum, row.confusion)):,}",
        )
        for row in evaluations
    )
    rows = zip(names, *figures, strict=True)
    return table(columns, rows, caption="All on examples the scoring model had not seen.")


def quality(estimate: Estimate | None) -> tuple[str, ...]:
    """Writes the figures of an estimate that `QUALITY` names."""
    if estimate is None:
        return (NONE,) * len(QUALITY)
    shares = (estimate.accuracy, estimate.accuracy_low, estimate.accuracy_high)
    return (*map(percent, shares), f"{estimate.log_loss:.4f}")


def near_duplicates(
    pairs: Iterable[NearDuplicates], names: Mapping[str, str], *, caption: str
) -> Markup:
    """Lists pairs of nearly the same input, each under its label."""
    rows = [
        (
            named(row.digest, names),
            join(row.label),
            named(row.other_digest, names),
            join(row.other_label),
            f"{row.similarity:.4f}",
        )
        for row in pairs
    ]
    columns = ["example", "label", "nearly the same", "label of that", "cosine"]
    return table(columns, rows, caption=caption)


def pictured(digest: str, names: Mapping[str, str], picture: str) -> Markup:
    """Writes what a person calls an example beside what it looks like, a `data:` URI."""
    image = tag("img", src=picture, alt="", class_="thumbnail")
    return tag("span", image, named(digest, names), class_="pictured")


def named(digest: str, names: Mapping[str, str]) -> Markup:
    """Writes what a person calls an example: its file's name, else its digest's beginning."""
    if digest in names:
        return join(names[digest])
    return tag("code", shortened(digest, 17), title=digest)


def _figures(row: ClassReport, style: str) -> list[Cell | Markup]:
    return [_gauge(value, style) for value in (row.precision, row.recall, row.f1)]


def _gauge(value: float | None, style: str) -> str | Markup:
    """Draws a share with a bar below it."""
    if value is None:
        return NONE
    return join(
        percent(value),
        tag(
            "svg",
            tag("rect", width=100, height=4, class_="empty"),
            tag("rect", width=100 * value, height=4, class_=f"bar {style}"),
            viewBox="0 0 100 4",
            preserveAspectRatio="none",
            aria_hidden="true",
        ),
    )


def _data(value: Cell | Markup, right: bool) -> Markup:
    class_ = "gauge" if _is_gauge(value) else "number" if right else None
    return tag("td", _shown(value), class_=class_)


def _shown(value: Cell | Markup) -> str:
    match value:
        case None:
            return NONE
        case str():
            return value
        case int():
            return f"{value:,}"
    return f"{value:.4g}"


def _are_figures(cells: Sequence[Cell | Markup]) -> bool:
    """Says whether a column has figures, and beside them but words for a missing one."""
    known = [value for value in cells if value is not None and value not in _MISSING]
    return bool(known) and all(map(_is_figure, known))


def _is_figure(value: Cell | Markup) -> bool:
    if isinstance(value, Markup):
        return _is_gauge(value)
    return not isinstance(value, str) or bool(_FIGURE.fullmatch(value))


def _is_gauge(value: Cell | Markup) -> bool:
    return isinstance(value, Markup) and "<svg" in value
