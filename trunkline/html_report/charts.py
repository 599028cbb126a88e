"""The report's plots over two axes: curves, reliability, online accuracy, intervals."""

import math
from collections.abc import Sequence

from trunkline.html_report.markup import Markup, join, tag
from trunkline.html_report.svg import HEIGHT, LEFT, Plot, Scale, label, shortened, ticks_from
from trunkline.values.estimates import Estimate
from trunkline.values.reports import (
    Evaluation,
    LearningPoint,
    OnlineAccuracy,
    ReliabilityBin,
)
from trunkline.wording import accuracy

_MOST_TICKS = 8

_BARS, _ABOVE_BARS = 30.0, 206.0
"""Pixels of the highest bar below a diagram of reliability, and to where its axis ends."""


def learning_curve(points: Sequence[LearningPoint]) -> Markup:
    """Draws accuracy over the number of examples, which grows by doubling."""
    ticks = ticks_from(min(point.accuracy for point in points))
    fewest, most = points[0].examples, points[-1].examples
    plot = Plot.over(fewest, most, ticks, log=True)
    pairs = [(float(point.examples), point.accuracy) for point in points]
    places = [("start", 19), *[("middle", -11)] * (len(points) - 2), ("end", -11)]
    steps = ", ".join(f"{row.accuracy:.1%} with {row.examples}" for row in points)
    return plot.drawing(
        "Learning curve",
        f"Accuracy with a part of the examples: {steps}.",
        plot.y_axis(ticks),
        plot.x_axis([(row.examples, f"{row.examples:,}") for row in points], "examples"),
        plot.line(pairs, "one"),
        *(
            join(
                plot.dot(pair, "one", f"{pair[0]:,.0f} examples: {pair[1]:.1%}"),
                label(plot.x(pair[0]), plot.y(pair[1]) + off, f"{pair[1]:.1%}", anchor, "value"),
            )
            for pair, (anchor, off) in zip(pairs, places, strict=True)
        ),
    )


def reliability(estimated: Evaluation, test: Evaluation | None) -> Markup:
    """Draws how often predictions of a confidence are right, with the sizes of the bins below."""
    series = [("one", estimated.reliability)] + ([("two", test.reliability)] if test else [])
    lowest = min(
        min(row.confidence, row.accuracy) for _, bins in series for row in bins if row.examples
    )
    ticks = ticks_from(lowest)
    plot = Plot.over(ticks[0], 1, ticks, bottom=_ABOVE_BARS)
    most = max(row.examples for _, bins in series for row in bins) or 1
    words = "; ".join(
        f"at confidence {row.confidence:.0%} right in {row.accuracy:.0%} of {row.examples}"
        for row in estimated.reliability
    )
    return plot.drawing(
        "Reliability",
        f"Estimates: {words}.",
        plot.y_axis(ticks),
        plot.line([(ticks[0], ticks[0]), (1, 1)], "ideal"),
        *(join(*_bins(plot, bins, style, most)) for style, bins in series),
        plot.x_axis([(tick, f"{tick:.0%}") for tick in ticks], "confidence"),
        label(LEFT, HEIGHT - 2, "bars: predictions in each bin", class_="axis-title"),
    )


def _bins(plot: Plot, bins: Sequence[ReliabilityBin], style: str, most: int) -> list[Markup]:
    kept = [row for row in bins if row.examples]
    mark = plot.dot if style == "one" else plot.square
    shift = -4 if style == "one" else 1
    drawn = [plot.line([(row.confidence, row.accuracy) for row in kept], style)]
    for row in kept:
        words = (
            f"{row.examples} predictions, mean confidence {row.confidence:.1%}, "
            f"right {row.accuracy:.1%}"
        )
        size = 3.5 + 4 * math.sqrt(row.examples / most)
        drawn.append(mark((row.confidence, row.accuracy), style, words, size))
        height = _BARS * row.examples / most
        left = plot.x(row.confidence) + shift
        bar = {"x": left, "y": HEIGHT - 18 - height, "width": 3.0, "height": height}
        drawn.append(tag("rect", tag("title", words), class_=f"bar {style}", **bar))
    return drawn


def online(history: Sequence[OnlineAccuracy]) -> Markup:
    """Draws accuracy on feedback over time: the active version against the live copy."""
    series = [
        ("two", "active version", [(float(row.feedback), row.active_accuracy) for row in history]),
        ("one", "live copy", [(float(row.feedback), row.live_accuracy) for row in history]),
    ]
    ticks = ticks_from(min(accuracy for _, _, points in series for _, accuracy in points))
    plot = Plot.over(history[0].feedback, history[-1].feedback, ticks)
    marks = {"one": plot.dot, "two": plot.square}
    step = math.ceil(len(history) / _MOST_TICKS)
    ends = ", ".join(f"{name} {points[-1][1]:.1%}" for _, name, points in series)
    return plot.drawing(
        "Accuracy on feedback",
        f"Each feedback was scored before it was learned; at the end: {ends}.",
        plot.y_axis(ticks),
        plot.x_axis([(row.feedback, f"{row.feedback:,}") for row in history[::step]], "feedback"),
        *(
            join(
                plot.line(points, style),
                *(
                    marks[style](
                        point, style, f"{name}, to feedback {point[0]:,.0f}: {point[1]:.1%}"
                    )
                    for point in points
                ),
            )
            for style, name, points in series
        ),
    )


def intervals(rows: Sequence[tuple[str, Estimate, str]], title: str) -> Markup:
    """Draws accuracies and their 95 % intervals, one below the other: (name, estimate, style)."""
    ticks = ticks_from(min(estimate.accuracy_low for _, estimate, _ in rows))
    bottom = 16.0 + 34 * len(rows)
    across, down = Scale(ticks[0], 1, 158, 424), Scale(0, 1, bottom, 8)
    plot = Plot(across, down, height=bottom + 44)
    words = "; ".join(f"{name} {accuracy(row)}" for name, row, _ in rows)
    drawn = []
    for number, (name, row, style) in enumerate(rows):
        at = 26.0 + 34 * number
        low, high = plot.x(row.accuracy_low), plot.x(row.accuracy_high)
        drawn += [
            label(146, at + 4, shortened(name, 20), "end"),
            tag("rect", x=low, y=at - 5, width=high - low, height=10, rx=5, class_=f"span {style}"),
            tag(
                "circle",
                tag("title", f"{name}: {accuracy(row)}"),
                cx=plot.x(row.accuracy),
                cy=at,
                r=6,
                class_=f"dot {style}",
            ),
            label(434, at + 4, f"{row.accuracy:.1%}", class_="value"),
        ]
    lines = [
        tag("line", x1=plot.x(tick), x2=plot.x(tick), y1=8, y2=bottom, class_="grid")
        for tick in ticks
    ]
    axis = plot.x_axis([(tick, f"{tick:.0%}") for tick in ticks], "accuracy, 95 % interval")
    return plot.drawing(title, f"{words}.", *lines, axis, *drawn)
