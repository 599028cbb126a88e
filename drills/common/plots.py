"""Plots of what drills saw, as pictures that stand alone."""

from __future__ import annotations

from collections.abc import Sequence

from trunkline.html_report.markup import tag
from trunkline.html_report.svg import Plot, ticks_to

_STYLE = (
    "text { fill: #555; font: 13px sans-serif } .grid { stroke: #ddd } .axis { stroke: #888 } "
    ".line { fill: none; stroke: #2563eb; stroke-width: 2 } .dot { fill: #2563eb }"
)
_MOST_MARKS = 10


def resident_plot(resident: Sequence[float]) -> str:
    """Draws the resident set after each minute, in MiB."""
    ticks = ticks_to(max(resident))
    minutes = range(1, len(resident) + 1)
    plot = Plot.over(1, len(resident), ticks)
    points = [(float(minute), held) for minute, held in zip(minutes, resident, strict=True)]
    every = -(-len(resident) // _MOST_MARKS)
    drawn = plot.drawing(
        "Resident set",
        f"From {resident[0]:.0f} MiB after the first minute to {resident[-1]:.0f} MiB.",
        tag("style", _STYLE),
        plot.y_axis(ticks, "{:g} MiB".format),
        plot.x_axis([(minute, str(minute)) for minute in minutes[every - 1 :: every]], "minutes"),
        plot.line(points, "one"),
        *(plot.dot(point, "one", f"{point[1]:.0f} MiB", 2.5) for point in points),
    )
    return drawn.replace("<svg ", '<svg xmlns="http://www.w3.org/2000/svg" ', 1) + "\n"
