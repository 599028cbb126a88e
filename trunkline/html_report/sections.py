"""The page's sections, each from a part of the report; None where the report has no such part."""

from collections.abc import Callable, Mapping

from trunkline.html_report import charts
from trunkline.html_report.confusion import MOST_CLASSES, heat_map, most_confused
from trunkline.html_report.decisions import decisions
from trunkline.html_report.layout import figure, legend, pair, section
from trunkline.html_report.markup import Markup, join, tag
from trunkline.html_report.tables import beside, classes, named, near_duplicates, table
from trunkline.html_report.tuning import fine_tuning
from trunkline.values.estimates import Estimate
from trunkline.values.reports import Evaluation, Report
from trunkline.wording import augmentation_ways, percent

_MOST_ABREAST = 12


def _accuracy(report: Report, names: Mapping[str, str]) -> Markup | None:
    rows = [
        (name, estimate, style)
        for (name, estimate), style in zip(estimates(report), ("one", "two"), strict=False)
    ]
    warnings = [tag("p", warning, class_="note") for warning in report.warnings]
    if not rows:
        return section(
            "Accuracy",
            tag("p", "Unknown: there were too few examples, or the weights came from elsewhere."),
            *warnings,
        )
    words = "Share of new inputs that are answered right, as examples tell that were not seen."
    measured = report.evaluation or report.test
    drawn = charts.intervals(rows, "Expected accuracy")
    return section(
        "Accuracy",
        tag("p", words, class_="note"),
        pair(drawn, beside(report.evaluation, report.test) if report.evaluation else None)
        if measured
        else tag("figure", drawn),
        *warnings,
    )


def _curves(report: Report, names: Mapping[str, str]) -> Markup | None:
    figures = []
    if len(report.learning_curve) > 1:
        figures.append(
            figure(
                "Would more examples help?",
                charts.learning_curve(report.learning_curve),
                "Accuracy that a training on part of the examples would have had.",
            )
        )
    estimated = report.evaluation
    if estimated and any(row.examples for row in estimated.reliability):
        figures.append(
            figure(
                "Can its probabilities be trusted?",
                charts.reliability(estimated, report.test),
                "On the dashed line, of all answers given with 80 % confidence 80 % are right.",
                legend(one="estimates", two="test set" if report.test else None),
            )
        )
    return tag("div", *figures, class_="pair") if figures else None


def _decisions(report: Report, names: Mapping[str, str]) -> Markup | None:
    return decisions(report.decisions) if report.decisions else None


def _classes(report: Report, names: Mapping[str, str]) -> Markup:
    return section("Classes", classes(report))


def _confusion(report: Report, names: Mapping[str, str]) -> Markup | None:
    evaluations = [
        (name, evaluation)
        for name, evaluation in (("estimates", report.evaluation), ("test set", report.test))
        if evaluation
    ]
    if not evaluations:
        return None
    maps = [_map(evaluation, name) for name, evaluation in evaluations]
    return section(
        "What is taken for what",
        tag(
            "p",
            "Shades are shares of the true class; mistakes have a colour of their own.",
            class_="note",
        ),
        tag("div", *maps, class_="pair")
        if len(evaluations[0][1].classes) <= _MOST_ABREAST
        else join(*maps),
        _pairs(evaluations[0][1]),
    )


def _map(evaluation: Evaluation, name: str) -> Markup:
    if len(evaluation.classes) > MOST_CLASSES:
        return tag("p", f"{len(evaluation.classes)} classes are too many to draw ({name}).")
    drawn = heat_map(evaluation, f"Confusion matrix, {name}")
    return tag("figure", drawn, tag("figcaption", name))


def _pairs(evaluation: Evaluation) -> Markup | None:
    rows = [
        (join(true), join(taken), count, percent(share))
        for true, taken, count, share in most_confused(evaluation)
    ]
    columns = ["true class", "taken for", "times", "of that class"]
    return table(columns, rows, caption="Most frequent mistakes.") if rows else None


def _candidates(report: Report, names: Mapping[str, str]) -> Markup | None:
    if not report.candidates:
        return None
    rows = [(row.family, row.estimate) for row in report.candidates]
    drawn = [
        (name, estimate, "one" if row.chosen else "quiet")
        for (name, estimate), row in zip(rows, report.candidates, strict=True)
        if estimate
    ]
    cells = [
        (
            row.family,
            row.l2,
            percent(row.estimate.accuracy) if row.estimate else "left out",
            f"{row.estimate.log_loss:.4f}" if row.estimate else None,
        )
        for row in report.candidates
    ]
    chosen = next((at for at, row in enumerate(report.candidates) if row.chosen), None)
    columns = ["family", "l2", "accuracy", "log-loss"]
    return section(
        "Families considered",
        pair(
            charts.intervals(drawn, "Families considered") if drawn else None,
            table(columns, cells, caption="The chosen one is in bold.", chosen=chosen),
        ),
    )


def _suspects(report: Report, names: Mapping[str, str]) -> Markup | None:
    if not report.likely_mislabelled:
        return None
    rows = [
        (
            named(row.digest, names),
            join(row.label),
            percent(row.label_probability),
            join(row.predicted_label),
            percent(row.predicted_probability),
        )
        for row in report.likely_mislabelled
    ]
    columns = ["example", "label", "probability", "the others say", "with probability"]
    return section("Perhaps mislabelled", table(columns, rows, caption="Worth a second look."))


def _duplicates(report: Report, names: Mapping[str, str]) -> Markup | None:
    if not report.near_duplicates:
        return None
    words = "Pairs of nearly the same input under two labels."
    return section("Contradictions", near_duplicates(report.near_duplicates, names, caption=words))


def _augmentation(report: Report, names: Mapping[str, str]) -> Markup | None:
    found = report.augmentation
    if found is None:
        return None
    rows = [
        (name, estimate, "one" if used else "quiet")
        for name, estimate, used in augmentation_ways(found)
        if estimate
    ]
    words = (
        f"{found.views} views of each of {found.augmented_examples:,} examples, "
        "judged on the same folds; the way that was taken is coloured."
    )
    drawn = charts.intervals(rows, "What augmentation brought")
    return section("Augmentation", figure("", drawn, words))


def _fine_tuning(report: Report, names: Mapping[str, str]) -> Markup | None:
    return fine_tuning(report.fine_tuning) if report.fine_tuning else None


def _novelty(report: Report, names: Mapping[str, str]) -> Markup | None:
    found = report.novelty
    if found is None:
        return None
    answer = "gets no answer" if found.abstain else "is answered, and marked as novel"
    words = (
        f"An input farther than {found.threshold:.3f} from neighbour {found.neighbour} among "
        f"{found.kept:,} kept examples {answer}. "
        f"{percent(found.false_alarm_rate)} of ordinary inputs may be taken for novel."
    )
    return section("Novel inputs", tag("p", words))


def _online(report: Report, names: Mapping[str, str]) -> Markup | None:
    if not report.online:
        return None
    rows = [
        (
            row.feedback,
            row.scored,
            percent(row.active_accuracy),
            percent(row.live_accuracy),
            f"{row.time:%Y-%m-%d}\u00a0{row.time:%H:%M}",
        )
        for row in report.online
    ]
    columns = ["to feedback", "scored", "active version", "live copy", "time (UTC)"]
    words = "Each feedback was scored before it was learned."
    drawn = tag(
        "figure",
        charts.online(report.online),
        legend(one="live copy", two="active version", ideal=None),
    )
    return section(
        "Accuracy on feedback",
        tag(
            "div",
            drawn if len(rows) > 1 else None,
            tag("figure", table(columns, rows, caption=words)),
            class_="pair",
        ),
    )


def estimates(report: Report) -> list[tuple[str, Estimate]]:
    """Lists the accuracies that are known, by name."""
    found = []
    if report.estimate:
        found.append(("expected accuracy", report.estimate))
    if report.test:
        found.append(("test set", report.test.estimate))
    return found


PARTS: tuple[Callable[[Report, Mapping[str, str]], Markup | None], ...] = (
    _accuracy,
    _curves,
    _decisions,
    _confusion,
    _classes,
    _suspects,
    _duplicates,
    _candidates,
    _augmentation,
    _fine_tuning,
    _novelty,
    _online,
)
