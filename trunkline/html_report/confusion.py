"""The confusion matrix as a heat map, and which classes are confused most often."""

import math

from trunkline.html_report.markup import Markup, Value, tag
from trunkline.html_report.svg import drawing, label, shortened
from trunkline.values.reports import Evaluation

MOST_CLASSES = 60
_MOST_WITH_COUNTS = 15
_MOST_PAIRS = 8
_SIDE = 620.0


def heat_map(evaluation: Evaluation, title: str) -> Markup:
    """Draws true classes as rows, predicted ones as columns; shades are shares of the row."""
    labels = [row.label for row in evaluation.classes]
    count = len(labels)
    longest = min(18, max(map(len, labels)))
    size = min(58.0, (_SIDE - 150) / count)
    font = max(6.0, min(13.0, size * 0.62))
    tilt = 40 if size > 28 else 90
    left = 30 + longest * font * 0.62
    top = 34 + longest * font * 0.62 * math.sin(math.radians(tilt))
    cells = [
        _cell(evaluation, row, column, left + column * size, top + row * size, size)
        for row in range(count)
        for column in range(count)
    ]
    side = count * size
    across = longest * font * 0.6 * math.cos(math.radians(tilt))
    return drawing(
        left + side + across,
        top + side + 10,
        title,
        _words(evaluation),
        tag(
            "g",
            *(
                _name(
                    name,
                    x=left - 8,
                    y=top + (number + 0.5) * size + font / 3,
                    text_anchor="end",
                    font_size=font,
                )
                for number, name in enumerate(labels)
            ),
            *(
                _name(
                    name,
                    font_size=font,
                    transform=f"translate({left + (number + 0.5) * size + font / 4:.1f} "
                    f"{top - 8:.1f}) rotate({-tilt})",
                )
                for number, name in enumerate(labels)
            ),
        ),
        tag("g", *cells, class_="cells"),
        label(left + side / 2, 14, "predicted", "middle", "axis-title"),
        tag(
            "text",
            "true",
            class_="axis-title",
            text_anchor="middle",
            transform=f"translate(14 {top + side / 2:.1f}) rotate(-90)",
        ),
    )


def most_confused(evaluation: Evaluation) -> list[tuple[str, str, int, float]]:
    """Lists the pairs that are mixed up most: true class, predicted, count, share of the true."""
    labels = [row.label for row in evaluation.classes]
    pairs = [
        (labels[i], labels[j], count, count / sum(row))
        for i, row in enumerate(evaluation.confusion)
        for j, count in enumerate(row)
        if i != j and count
    ]
    return sorted(pairs, key=lambda pair: (-pair[2], -pair[3], pair[:2]))[:_MOST_PAIRS]


def _cell(
    evaluation: Evaluation, row: int, column: int, x: float, y: float, size: float
) -> Markup | None:
    count = evaluation.confusion[row][column]
    share = count / (sum(evaluation.confusion[row]) or 1)
    gap = 1.0 if size > 12 else 0.3
    side = size - 2 * gap
    box = {"x": x + gap, "y": y + gap, "width": side, "height": side, "rx": min(4, size / 8)}
    true, taken = evaluation.classes[row].label, evaluation.classes[column].label
    words = f"{true} taken for {taken}" if row != column else f"{true}, recognised"
    return tag(
        "g",
        tag("title", f"{words}: {count} ({share:.0%})"),
        tag("rect", **box, class_="empty"),
        tag(
            "rect",
            **box,
            class_="right" if row == column else "wrong",
            fill_opacity=_shade(share),
        )
        if count
        else None,
        label(
            x + size / 2,
            y + size / 2 + 4.5,
            f"{count:,}",
            "middle",
            "on" if _shade(share) > 0.55 else None,
        )
        if count and len(evaluation.classes) <= _MOST_WITH_COUNTS
        else None,
    )


def _shade(share: float) -> float:
    """Returns an opacity, faint but never invisible: one mistake among many is worth seeing."""
    return 0.14 + 0.82 * math.pow(share, 0.7)


def _name(name: str, **place: Value) -> Markup:
    """Writes a class beside its row or column; its whole name shows when somebody points at it."""
    return tag("text", shortened(name, 18), tag("title", name), **place)


def _words(evaluation: Evaluation) -> str:
    pairs = most_confused(evaluation)[:3]
    if not pairs:
        return "No example was taken for another class"
    words = ", ".join(f"{true} for {taken} {count} times" for true, taken, count, _ in pairs)
    return f"Most often taken for another class: {words}"
