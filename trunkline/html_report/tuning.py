"""What fine-tuning gained: beside feature extraction, and epoch by epoch."""

import math
from collections.abc import Sequence

from trunkline.html_report import charts
from trunkline.html_report.layout import figure, legend, pair, section
from trunkline.html_report.markup import Markup, join, tag
from trunkline.html_report.svg import Plot, Point, ticks_from, ticks_to
from trunkline.html_report.tables import QUALITY, quality, table
from trunkline.values.estimates import Estimate
from trunkline.values.reports import FineTuningReport, TuningEpoch
from trunkline.wording import size

_MOST_TICKS = 12


def fine_tuning(found: FineTuningReport) -> Markup:
    """Shows both ways side by side, whether the tail is used and why not, and the epochs."""
    runs_on = "a tail of its own" if found.used else "the backbone as everybody does"
    why = f": {found.reason}" if found.reason else ""
    changed = f"{found.strategy} ({', '.join(found.blocks)})" if found.blocks else found.strategy
    views = f"{found.view_count} {found.views}" if found.view_count else "none"
    return section(
        "Fine-tuning",
        tag("p", f"The version runs on {runs_on}{why}."),
        tag("p", f"Strategy {changed}, {found.epochs} epochs of {found.epoch_seconds:.2f} s."),
        tag("p", f"Views that it was tuned on beside each image: {views}."),
        pair(_intervals(found), _beside(found)),
        _views(found),
        _averaged(found),
        _curves(found),
    )


def _views(found: FineTuningReport) -> Markup | None:
    """Shows which views were tried, and what each brought beside none."""
    if not found.tried:
        return None
    rows = [
        (
            f"{row.count} {row.views}",
            str(row.folds),
            str(row.epochs),
            *_quality(row.estimate),
            *_quality(row.without),
            row.reason,
        )
        for row in found.tried
    ]
    columns = ["views", "folds", "epochs", "accuracy", "log-loss", "none: accuracy", "log-loss"]
    caption = "Views that were tried, and none on the same folds for as many epochs."
    return tag("figure", table([*columns, "outcome"], rows, caption=caption))


def _averaged(found: FineTuningReport) -> Markup | None:
    """Shows what averaging predictions over the views would bring, and what it would cost."""
    if found.averaged is None:
        return None
    rows = [
        (str(count), *_quality(estimate), str(1 + count))
        for count, estimate in ((0, found.with_tail), (found.view_count, found.averaged))
    ]
    columns = ["views averaged over", "accuracy", "log-loss", "passes a prediction"]
    caption = "Predictions that average over views, on the same folds."
    return tag("figure", table(columns, rows, caption=caption))


def _quality(estimate: Estimate | None) -> tuple[str, str]:
    accuracy, _, _, log_loss = quality(estimate)
    return accuracy, log_loss


def _intervals(found: FineTuningReport) -> Markup | None:
    ways = (
        ("feature extraction", found.without_tail, not found.used),
        ("fine-tuned", found.with_tail, found.used),
    )
    rows = [(name, row, "one" if used else "quiet") for name, row, used in ways if row]
    return charts.intervals(rows, "What fine-tuning bought") if rows else None


def _beside(found: FineTuningReport) -> Markup:
    names = (*QUALITY, "training time", "weights of its own")
    ways = (
        (found.without_tail, found.seconds_without, found.bytes_without),
        (found.with_tail, found.seconds_with, found.bytes_with),
    )
    figures = ((*quality(row), f"{seconds:.2f} s", size(count)) for row, seconds, count in ways)
    columns = ["", "feature extraction", "fine-tuned"]
    return table(columns, zip(names, *figures, strict=True), caption="On the same folds.")


def _curves(found: FineTuningReport) -> Markup | None:
    curve = [row for row in found.curve if math.isfinite(row.loss + row.validation_loss)]
    if len(curve) < 2:
        return None
    taken = (
        f"{found.epochs} epochs, taken on all examples" if _within(curve, found.epochs) else None
    )
    return tag(
        "div",
        figure(
            "Loss by epoch",
            _losses(curve, found.epochs),
            "Means over the folds, in nats.",
            legend(one="held-out examples", two="examples trained on", ideal=taken),
        ),
        figure(
            "Accuracy by epoch",
            _accuracies(curve, found.epochs),
            "On the folds' held-out examples.",
            legend(one="held-out examples", two=None, ideal=taken),
        ),
        class_="pair",
    )


def _losses(curve: Sequence[TuningEpoch], taken: int) -> Markup:
    held_out = [(float(row.epoch), row.validation_loss) for row in curve]
    trained = [(float(row.epoch), row.loss) for row in curve]
    ticks = ticks_to(max(loss for _, loss in (*held_out, *trained)))
    plot = _plot(curve, ticks)
    return plot.drawing(
        "Loss by epoch",
        f"On held-out examples from {held_out[0][1]:.3f} to {held_out[-1][1]:.3f}, "
        f"on those trained on from {trained[0][1]:.3f} to {trained[-1][1]:.3f}.",
        plot.y_axis(ticks, "{:.4g}".format),
        _epochs(plot, curve, taken),
        plot.line(trained, "two"),
        plot.line(held_out, "one"),
        *(plot.square(row, "two", f"trained on: {row[1]:.4f}") for row in trained),
        *(plot.dot(row, "one", f"held out: {row[1]:.4f}") for row in held_out),
    )


def _accuracies(curve: Sequence[TuningEpoch], taken: int) -> Markup:
    points: list[Point] = [(float(row.epoch), row.validation_accuracy) for row in curve]
    ticks = ticks_from(min(accuracy for _, accuracy in points))
    plot = _plot(curve, ticks)
    return plot.drawing(
        "Accuracy by epoch",
        f"On held-out examples from {points[0][1]:.1%} to {points[-1][1]:.1%}.",
        plot.y_axis(ticks),
        _epochs(plot, curve, taken),
        plot.line(points, "one"),
        *(plot.dot(row, "one", f"epoch {row[0]:.0f}: {row[1]:.1%}") for row in points),
    )


def _plot(curve: Sequence[TuningEpoch], ticks: Sequence[float]) -> Plot:
    return Plot.over(curve[0].epoch, curve[-1].epoch, ticks)


def _epochs(plot: Plot, curve: Sequence[TuningEpoch], taken: int) -> Markup:
    """Draws the axis of epochs, and a line at the number that was taken."""
    step = math.ceil(len(curve) / _MOST_TICKS)
    axis = plot.x_axis([(row.epoch, str(row.epoch)) for row in curve[::step]], "epoch")
    if not _within(curve, taken):
        return axis
    return join(axis, plot.line([(taken, plot.y.low), (taken, plot.y.high)], "ideal"))


def _within(curve: Sequence[TuningEpoch], epoch: int) -> bool:
    return curve[0].epoch <= epoch <= curve[-1].epoch
