"""An advice as a page: what could be done, how good it would be, and what more labels bring."""

from collections.abc import Mapping, Sequence
from itertools import pairwise

from trunkline.html_report import charts
from trunkline.html_report.layout import document, figure, pair, section, tiles
from trunkline.html_report.markup import Markup, join, tag
from trunkline.html_report.svg import Plot, label, shortened, ticks_from
from trunkline.html_report.tables import near_duplicates, table
from trunkline.values.advice import DIRECT, MAJORITY, Advice, Option
from trunkline.wording import NONE, direct_words, percent

_GAP = 15.0
"""Pixels between the names of two curves."""

_ENDS, _LONGEST = 286.0, 19
"""Pixels to where curves end, and characters of the names beside them."""


def advice_page(advice: Advice, title: str, names: Mapping[str, str], code: str = "") -> str:
    """Writes the page, which needs no other file, no script and no network.

    Args:
        title: what a person calls the data.
        names: what a person calls examples, by digest.
        code: lines of Python that train directly, shown where that is recommended.
    """
    return document(
        f"{title}: does transfer pay?",
        _heading(advice, title),
        _reasons(advice),
        _direct(advice, code),
        _options(advice),
        _curves(advice.options, advice.recommended),
        _labels_needed(advice),
        _backbones(advice),
        _duplicates(advice, names),
        _classes(advice),
    )


def _heading(advice: Advice, title: str) -> Markup:
    looked_at = f"{advice.example_count:,} examples of {len(advice.classes)} classes."
    rows = [
        (
            _name(option.name),
            percent(option.estimate.accuracy),
            "recommended" if option.name == advice.recommended else "",
        )
        for option in advice.options
    ]
    likely = "likely to pay" if advice.fine_tuning else "not likely to pay"
    return tag(
        "header",
        tag("h1", "Does transfer pay? ", tag("small", title)),
        tag("p", looked_at, class_="about"),
        tiles([*rows, ("fine-tuning", "yes" if advice.fine_tuning else "no", likely)]),
    )


def _reasons(advice: Advice) -> Markup:
    return section(
        f"Recommended: {_name(advice.recommended)}",
        tag("p", advice.summary),
        tag("ul", *(tag("li", reason) for reason in advice.reasons), class_="reasons"),
        tag("p", tag("strong", "Fine-tuning: "), advice.fine_tuning_reason),
    )


def _direct(advice: Advice, code: str) -> Markup | None:
    if not code or advice.recommended != DIRECT:
        return None
    lines = tag("pre", tag("code", code.rstrip()))
    return section("How to train directly", tag("p", direct_words(advice)), lines)


def _options(advice: Advice) -> Markup:
    drawn = [
        (
            _name(option.name),
            option.estimate,
            "one" if option.name == advice.recommended else "quiet",
        )
        for option in advice.options
    ]
    rows = [
        (
            _name(option.name),
            percent(option.estimate.accuracy),
            f"{option.estimate.log_loss:.4f}",
            f"{option.seconds:.1f} s",
        )
        for option in advice.options
    ]
    chosen = [option.name for option in advice.options].index(advice.recommended)
    method = advice.best.estimate.method
    caption = f"The recommended one is in bold. All by {method}, on the same folds."
    columns = ["option", "accuracy", "log-loss", "time to find out"]
    return section(
        "What could be done",
        pair(
            charts.intervals(drawn, "What could be done"),
            table(columns, rows, caption=caption, chosen=chosen),
        ),
    )


def _curves(options: Sequence[Option], recommended: str) -> Markup | None:
    """Draws all learning curves in one drawing, each with its name at its end."""
    drawn = [option for option in options if len(option.learning_curve) > 1]
    if not drawn:
        return None
    sizes = sorted({point.examples for option in drawn for point in option.learning_curve})
    ticks = ticks_from(min(point.accuracy for row in drawn for point in row.learning_curve))
    plot = Plot.over(sizes[0], sizes[-1], ticks, log=True, right=_ENDS)
    ends = _spread([plot.y(option.learning_curve[-1].accuracy) for option in drawn])
    words = "; ".join(
        f"{_name(option.name)} from {percent(option.learning_curve[0].accuracy)} to "
        f"{percent(option.learning_curve[-1].accuracy)}"
        for option in drawn
    )
    lines = [
        _line(plot, option, _style(option.name, recommended), end)
        for option, end in zip(drawn, ends, strict=True)
    ]
    axes = (plot.y_axis(ticks), plot.x_axis([(size, f"{size:,}") for size in sizes], "examples"))
    # The recommended one is drawn last, above the others.
    order = sorted(range(len(drawn)), key=lambda at: drawn[at].name == recommended)
    return figure(
        "Would more labels help?",
        plot.drawing(
            "Learning curves",
            f"Accuracy from {sizes[0]:,} examples to {sizes[-1]:,}: {words}.",
            *axes,
            *(lines[at] for at in order),
        ),
        "Accuracy that a training on part of the examples would have had, on the others.",
    )


def _line(plot: Plot, option: Option, style: str, end: float) -> Markup:
    name = _name(option.name)
    pairs = [(float(point.examples), point.accuracy) for point in option.learning_curve]
    marks = [
        plot.dot(pair, style, f"{name}, {pair[0]:,.0f} examples: {percent(pair[1])}", 3.5)
        for pair in pairs
    ]
    at = plot.x(pairs[-1][0]) + 10
    words = f"{shortened(name, _LONGEST)} {percent(pairs[-1][1])}"
    class_ = "value" if style == "one" else None
    return join(plot.line(pairs, style), *marks, label(at, end + 4, words, class_=class_))


def _spread(heights: Sequence[float]) -> list[float]:
    """Returns the heights in their order from top to bottom, far enough apart to be read."""
    order = sorted(range(len(heights)), key=lambda at: heights[at])
    spread = list(heights)
    for above, below in pairwise(order):
        spread[below] = max(spread[below], spread[above] + _GAP)
    return spread


def _style(name: str, recommended: str) -> str:
    if name == recommended:
        return "one"
    return {DIRECT: "two", MAJORITY: "ideal"}.get(name, "quiet")


def _labels_needed(advice: Advice) -> Markup | None:
    if not advice.labels_needed:
        return None
    rows = [
        (
            percent(row.accuracy),
            "out of sight" if row.examples is None else f"{row.examples:,}",
        )
        for row in advice.labels_needed
    ]
    words = (
        f"Of {_name(advice.recommended)}, by a power law through its learning curve, believed up "
        "to ten times the examples."
    )
    return section(
        "How many labels for how much?", table(["accuracy", "examples"], rows, caption=words)
    )


def _backbones(advice: Advice) -> Markup | None:
    rows = [
        (
            option.name,
            _figure(option.log_evidence, ".4f"),
            _figure(option.effective_rank, ".0f"),
            _figure(option.mean_similarity, ".3f"),
        )
        for option in advice.options
        if option.log_evidence is not None
    ]
    if not rows:
        return None
    columns = ["backbone", "evidence (LogME)", "effective rank", "mean cosine"]
    words = (
        "Evidence: higher is better. Rank: in how many directions the examples vary. A mean cosine "
        "near 1 says that they look much alike to the backbone."
    )
    return section("How the examples lie", table(columns, rows, caption=words))


def _duplicates(advice: Advice, names: Mapping[str, str]) -> Markup | None:
    if not advice.near_duplicates:
        return None
    words = f"{advice.near_duplicate_count:,} pairs in all; those under two labels come first."
    shown = near_duplicates(advice.near_duplicates, names, caption=words)
    return section("Nearly the same", shown)


def _classes(advice: Advice) -> Markup:
    rows = [(join(row.label), row.examples) for row in advice.classes]
    return section("Classes", table(["class", "examples"], rows, caption="What was looked at."))


def _name(option: str) -> str:
    return {DIRECT: "direct training", MAJORITY: "most frequent class"}.get(option, option)


def _figure(value: float | None, form: str) -> str:
    return NONE if value is None else format(value, form)
