"""The section on what could be accepted without a look: precision against the share accepted."""

from collections.abc import Sequence

from trunkline.html_report.layout import legend, section
from trunkline.html_report.markup import Markup, join, tag
from trunkline.html_report.svg import Plot, ticks_from
from trunkline.html_report.tables import table
from trunkline.values.heads import Decide
from trunkline.values.reports import DecisionCurve, DecisionPoint
from trunkline.wording import curve_rows, percent


def decisions(found: DecisionCurve) -> Markup:
    """Draws precision over the share that is accepted, with what the head's rule makes of it."""
    rows = [
        (
            percent(row.share),
            f"{row.threshold:.4f}",
            percent(row.precision),
            f"{row.precision_low:.1%} to {row.precision_high:.1%}",
        )
        for row in curve_rows(found)
    ]
    columns = ["accepted", "above", "right", "95 % interval"]
    wanted = "wanted precision" if found.decide else None
    drawn = tag(
        "figure",
        _chart(found.points, found.decide),
        legend(one="right, of those accepted", two="95 % interval", ideal=wanted),
    )
    words = (
        f"Answers that are more probable than a threshold, among {found.examples:,} predictions "
        "of examples that were not seen. The interval of each point is for that point alone."
    )
    return section(
        "What could be accepted without a look",
        tag("p", _rule(found.decide)) if found.decide else None,
        tag(
            "div",
            drawn,
            tag("figure", table(columns, rows, caption=words)),
            class_="pair",
        ),
    )


def _rule(rule: Decide) -> str:
    wanted = (
        f"The head's rule wants {rule.precision:.4g} of what is accepted right, at "
        f"{rule.confidence:.4g} confidence: "
    )
    found = rule.acceptance
    if found is None or found.threshold is None:
        return f"{wanted}everything is for review. {found.reason if found else ''}".strip()
    return (
        f"{wanted}what is more probable than {found.threshold:.4f} is accepted, "
        f"{percent(found.share)} of the answers, of which {percent(found.precision)} are right "
        f"({found.precision_low:.1%} to {found.precision_high:.1%}, which allows for the choice)."
    )


def _chart(points: Sequence[DecisionPoint], rule: Decide | None) -> Markup:
    lowest = min(row.precision_low for row in points if row.share >= 1 / 16)
    wanted = [rule.precision] if rule else []
    ticks = ticks_from(min([lowest, *wanted]))
    shown = [row for row in points if row.precision_low >= ticks[0]]
    plot = Plot.over(0, 1, ticks)
    ends = f"{percent(points[-1].precision)} of everything" if points else ""
    accepted = rule.acceptance if rule else None
    dots = []
    if accepted is not None and accepted.threshold is not None:
        words = f"accepted by the rule: {percent(accepted.share)}"
        dots.append(plot.dot((accepted.share, accepted.precision), "one", words, 6))
    return plot.drawing(
        "Precision against the share accepted",
        f"Share of right answers among the accepted, by how many are; {ends}.",
        plot.y_axis(ticks),
        *(plot.line([(0, share), (1, share)], "ideal") for share in wanted),
        *(
            plot.line([(row.share, end) for row, end in pairs], "two")
            for pairs in (
                [(row, row.precision_low) for row in shown],
                [(row, row.precision_high) for row in shown],
            )
        ),
        plot.line([(row.share, row.precision) for row in shown], "one"),
        join(*dots),
        plot.x_axis([(tick / 4, f"{tick / 4:.0%}") for tick in range(5)], "accepted"),
    )
