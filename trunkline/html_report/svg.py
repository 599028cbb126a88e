"""A small plot: scales, axes, lines and points in SVG, coloured by the page's style sheet."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from trunkline.html_report.markup import Markup, join, tag

Point = tuple[float, float]

_LEAST = 1e-9

WIDTH, HEIGHT = 480.0, 300.0
"""Of every drawing over two axes, in pixels; others are as wide."""

LEFT, RIGHT, TOP, BOTTOM = 56.0, 450.0, 22.0, 244.0
"""Where the axes of a drawing end."""


@dataclass(frozen=True)
class Scale:
    """Maps values from `low` to `high` to pixels from `start` to `end`, by logarithm if `log`."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        share = (at - low) / (high - low) if high > low else 0.5
        return self.start + share * (self.end - self.start)


@dataclass(frozen=True)
class Plot:
    """A frame with an x and a y scale."""

    x: Scale
    y: Scale
    width: float = WIDTH
    height: float = HEIGHT

    @classmethod
    def over(
        cls,
        first: float,
        last: float,
        ticks: Sequence[float],
        *,
        log: bool = False,
        right: float = RIGHT,
        bottom: float = BOTTOM,
    ) -> Self:
        """Makes a frame of the size that all have.

        Args:
            first: where the x axis begins.
            last: where it ends.
            ticks: of the y axis, the lowest first.
            log: whether x is by logarithm.
            right: pixels to where the x axis ends.
            bottom: pixels to where the y axis ends.
        """
        return cls(Scale(first, last, LEFT, right, log), Scale(ticks[0], ticks[-1], bottom, TOP))

    def drawing(self, title: str, words: str, *parts: str | None) -> Markup:
        """Makes a drawing of the frame; see `drawing`."""
        return drawing(self.width, self.height, title, words, *parts)

    def y_axis(
        self, ticks: Iterable[float], shown: Callable[[float], str] = "{:.0%}".format
    ) -> Markup:
        """Draws grid lines and their values, which are shares unless `shown` says otherwise."""
        return join(
            *(
                join(
                    tag("line", x1=self.x.start, x2=self.x.end, y1=at, y2=at, class_="grid"),
                    label(self.x.start - 8, at + 4, shown(tick), "end"),
                )
                for tick in ticks
                for at in (self.y(tick),)
            )
        )

    def x_axis(self, ticks: Iterable[tuple[float, str]], title: str) -> Markup:
        """Writes values below the frame, and what they are."""
        base = self.y.start
        return join(
            tag("line", x1=self.x.start, x2=self.x.end, y1=base, y2=base, class_="axis"),
            *(label(self.x(value), base + 18, text, "middle") for value, text in ticks),
            label((self.x.start + self.x.end) / 2, base + 38, title, "middle", class_="axis-title"),
        )

    def line(self, points: Sequence[Point], class_: str) -> Markup:
        """Draws a line through points."""
        path = " ".join(f"{self.x(x):.1f},{self.y(y):.1f}" for x, y in points)
        return tag("polyline", points=path, class_=f"line {class_}")

    def dot(self, point: Point, class_: str, words: str, radius: float = 4.5) -> Markup:
        """Draws a point that says what it is when somebody points at it."""
        x, y = self.x(point[0]), self.y(point[1])
        return tag("circle", tag("title", words), cx=x, cy=y, r=radius, class_=f"dot {class_}")

    def square(self, point: Point, class_: str, words: str, radius: float = 4.5) -> Markup:
        """Draws a point as a square on its corner, distinguishable from dots without colour."""
        x, y = self.x(point[0]), self.y(point[1])
        corners = ((x, y - radius), (x + radius, y), (x, y + radius), (x - radius, y))
        path = " ".join(f"{a:.1f},{b:.1f}" for a, b in corners)
        return tag("polygon", tag("title", words), points=path, class_=f"dot {class_}")


def label(
    x: float, y: float, text: str, anchor: str = "start", class_: str | None = None
) -> Markup:
    """Writes a text in a drawing."""
    return tag("text", text, x=x, y=y, text_anchor=anchor, class_=class_)


def drawing(width: float, height: float, title: str, words: str, *parts: str | None) -> Markup:
    """Makes a drawing with a title, and a description for those who cannot see it."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", words),
        *parts,
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=f"{title}. {words}",
    )


def ticks_from(lowest: float) -> tuple[float, ...]:
    """Returns some five round values from below `lowest` to 1, to mark an axis of accuracies."""
    for step in (0.01, 0.02, 0.05, 0.1):
        floor = max(0.0, math.floor((lowest - step / 4) / step + 1e-9) * step)
        if (1 - floor) / step <= 6:
            break
    else:
        step = 0.25 if lowest < 0.4 else 0.2
        floor = 0.0 if lowest < 0.4 else 0.4
    count = round((1 - floor) / step)
    return tuple(1 - step * (count - number) for number in range(count + 1))


def ticks_to(highest: float) -> tuple[float, ...]:
    """Returns at most six round values from 0 to `highest` or above, for an axis without an end."""
    highest = max(highest, _LEAST)
    power = 10.0 ** math.floor(math.log10(highest / 5))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor * 5 >= highest)
    return tuple(step * number for number in range(math.ceil(highest / step - 1e-9) + 1))


def shortened(text: str, most: int) -> str:
    """Returns the text with at most `most` characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
