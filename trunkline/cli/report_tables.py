"""The tables of a report for the terminal."""

from collections.abc import Iterable, Mapping

from trunkline.cli.decide_options import acceptance_words, rule_words
from trunkline.cli.output import Output, short_digest
from trunkline.values.estimates import Estimate
from trunkline.values.reports import (
    DecisionCurve,
    FineTuningReport,
    NearDuplicates,
    Report,
)
from trunkline.wording import accuracy, augmentation_ways, curve_rows, percent, size


def print_tables(out: Output, report: Report, names: Mapping[str, str]) -> None:
    """Prints every part that the report has, in the order in which one reads it."""
    for warning in report.warnings:
        out.say(warning)
    _evaluations(out, report)
    _classes(out, report)
    for name, evaluation in (("estimates", report.evaluation), ("test set", report.test)):
        if evaluation:
            labels = [row.label for row in evaluation.classes]
            out.matrix(labels, evaluation.confusion, title=f"confusion matrix, {name}")
    curve = ((row.examples, percent(row.accuracy)) for row in report.learning_curve)
    out.table(["examples", "accuracy"], curve, title="learning curve")
    if report.decisions:
        _decisions(out, report.decisions)
    _suspects(out, report, names)
    _candidates(out, report)
    _augmentation(out, report)
    if report.fine_tuning:
        _fine_tuning(out, report.fine_tuning)
    _novelty(out, report)
    _online(out, report)


def tail_outcome(found: FineTuningReport) -> str:
    """Describes whether the tail is used, and why."""
    used = "used" if found.used else "not used"
    return f"{used}: {found.reason}" if found.reason else used


def views_words(found: FineTuningReport) -> str:
    """Describes the views that the tail was tuned on, and whether the folds chose them."""
    words = f"{found.view_count} {found.views}" if found.view_count else "none"
    return f"{words}, chosen on the folds" if found.tried else words


def _evaluations(out: Output, report: Report) -> None:
    if report.evaluation is None or report.test is None:
        return
    rows = [
        (
            name,
            sum(map(sum, row.confusion)),
            percent(row.estimate.accuracy),
            f"{row.estimate.accuracy_low:.1%} to {row.estimate.accuracy_high:.1%}",
            f"{row.estimate.log_loss:.4f}",
            f"{row.expected_calibration_error:.4f}",
        )
        for name, row in (("estimates", report.evaluation), ("test set", report.test))
    ]
    columns = ["measured on", "examples", "accuracy", "95 % interval", "log-loss", "ECE"]
    out.table(columns, rows, title="test set beside the estimates")


def _classes(out: Output, report: Report) -> None:
    tested = report.test.classes if report.test else ()
    columns = ["class", "examples", "precision", "recall", "F1"]
    for title, classes in (("classes", report.classes), ("classes on the test set", tested)):
        rows = [
            (row.label, row.examples, *map(percent, (row.precision, row.recall, row.f1)))
            for row in classes
        ]
        out.table(columns, rows, title=title)


def print_pairs(
    out: Output, title: str, pairs: Iterable[NearDuplicates], names: Mapping[str, str]
) -> None:
    """Prints examples that are nearly the same, one pair a point: a table has no room for both."""
    out.words(title)
    for row in pairs:
        one = f"{_name(row.digest, names)} ({row.label})"
        other = f"{_name(row.other_digest, names)} ({row.other_label})"
        out.words(f"{one} and {other}: cosine {row.similarity:.3f}", bullet="- ")


def _name(digest: str, names: Mapping[str, str]) -> str:
    return names.get(digest) or short_digest(digest)


def _suspects(out: Output, report: Report, names: Mapping[str, str]) -> None:
    if report.likely_mislabelled:
        out.words("perhaps mislabelled")
    for row in report.likely_mislabelled:
        given = f"{_name(row.digest, names)}: {row.label} ({percent(row.label_probability)})"
        others = f"{row.predicted_label} ({percent(row.predicted_probability)})"
        out.words(f"{given}, the others say {others}", bullet="- ")
    if report.near_duplicates:
        print_pairs(out, "nearly the same under two labels", report.near_duplicates, names)


def _decisions(out: Output, found: DecisionCurve) -> None:
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
    out.table(columns, rows, title="what could be accepted without a look")
    rule = found.decide
    if rule and rule.acceptance:
        facts = {"wanted": rule_words(rule), "accepted": acceptance_words(rule.acceptance)}
        out.facts(facts, title="the head's rule")


def _candidates(out: Output, report: Report) -> None:
    rows = [
        (row.family, row.l2, *_figures(row.estimate, "left out"), row.chosen)
        for row in report.candidates
    ]
    columns = ["family", "l2", "accuracy", "log-loss", "chosen"]
    out.table(columns, rows, title="families considered")


def _augmentation(out: Output, report: Report) -> None:
    found = report.augmentation
    if found is None:
        return
    rows = [
        (name, *_figures(estimate, "not tried"), used)
        for name, estimate, used in augmentation_ways(found)
    ]
    views = f"{found.views} views of each of {found.augmented_examples} examples"
    out.table(["way", "accuracy", "log-loss", "used"], rows, title=f"augmentation: {views}")


def _fine_tuning(out: Output, found: FineTuningReport) -> None:
    ways = (
        ("feature extraction", found.without_tail, found.seconds_without, found.bytes_without),
        ("fine-tuned", found.with_tail, found.seconds_with, found.bytes_with),
    )
    rows = [
        (
            name,
            *_figures(estimate, "unknown"),
            f"{seconds:.2f} s",
            size(count),
            found.used == (name == "fine-tuned"),
        )
        for name, estimate, seconds, count in ways
    ]
    columns = ["way", "accuracy", "log-loss", "time", "own weights", "used"]
    out.table(columns, rows, title="fine-tuning beside feature extraction, on the same folds")
    out.facts(
        {
            "strategy": found.strategy,
            "blocks": found.blocks or None,
            "epochs": f"{found.epochs}, of {found.epoch_seconds:.2f} s each",
            "tail": tail_outcome(found),
            "views": views_words(found),
        },
        title="fine-tuned tail",
    )
    _views(out, found)
    out.rows(
        found.curve,
        {
            "epoch": lambda row: row.epoch,
            "loss": lambda row: f"{row.loss:.4f}",
            "loss, held out": lambda row: f"{row.validation_loss:.4f}",
            "accuracy, held out": lambda row: percent(row.validation_accuracy),
        },
        title="fine-tuning by epoch, means over the folds",
    )


def _views(out: Output, found: FineTuningReport) -> None:
    """Prints what was tried, and what averaging over the views would bring."""
    rows = [
        (
            f"{row.count} {row.views}",
            row.folds or None,
            row.epochs or None,
            *_figures(row.estimate, "not tried"),
            *_figures(row.without, "not tried"),
            row.reason,
        )
        for row in found.tried
    ]
    columns = ["views", "folds", "epochs", "accuracy", "log-loss", "none: accuracy"]
    out.table(
        [*columns, "none: log-loss", "outcome"], rows, title="views that were tried, beside none"
    )
    if found.averaged:
        ways = ((0, found.with_tail), (found.view_count, found.averaged))
        averaged = [(count, *_figures(estimate, "unknown"), 1 + count) for count, estimate in ways]
        columns = ["--average-views", "accuracy", "log-loss", "passes a prediction"]
        out.table(columns, averaged, title="averaging over views, on the same folds")


def _novelty(out: Output, report: Report) -> None:
    found = report.novelty
    if found is None:
        return
    out.facts(
        {
            "false alarms": percent(found.false_alarm_rate),
            "threshold": found.threshold,
            "compared with": f"neighbour {found.neighbour} among {found.kept} kept examples",
            "novel inputs get an answer": not found.abstain,
        },
        title="novelty",
    )


def _online(out: Output, report: Report) -> None:
    out.rows(
        report.online,
        {
            "to feedback": lambda row: row.feedback,
            "scored": lambda row: row.scored,
            "active version": lambda row: percent(row.active_accuracy),
            "live copy": lambda row: percent(row.live_accuracy),
            "time (UTC)": lambda row: row.time,
        },
        title="accuracy on feedback, before it was learned",
    )


def _figures(estimate: Estimate | None, otherwise: str) -> tuple[str, str | None]:
    return (accuracy(estimate), f"{estimate.log_loss:.4f}") if estimate else (otherwise, None)
