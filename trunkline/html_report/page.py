"""The page: heading, the sections, and how the version was made."""

from collections.abc import Mapping

from trunkline.html_report.layout import document, section, tiles
from trunkline.html_report.markup import Markup, tag
from trunkline.html_report.sections import PARTS, estimates
from trunkline.html_report.tables import table
from trunkline.values.heads import LiveCopy
from trunkline.values.reports import Report
from trunkline.wording import counted, live_accuracy


def report_page(
    report: Report, facts: Mapping[str, str], live: LiveCopy | None, names: Mapping[str, str]
) -> str:
    """Writes the page, which needs no other file, no script and no network.

    Args:
        facts: how the version was made, by name.
        live: the head's live copy, where the version is the one it moves on from.
        names: what a person calls examples, by digest; see `pictured`, too.
    """
    sections = [part(report, names) for part in PARTS]
    title = f"{report.head.removeprefix('tenants/').replace('/heads/', '/')}"
    parts = (_heading(report, title, live), *sections, _live(report, live), _provenance(facts))
    return document(f"{title}, version {report.version}", *parts)


def _heading(report: Report, title: str, live: LiveCopy | None) -> Markup:
    trained = f"trained on {report.example_count:,} examples of {len(report.classes)} classes"
    if report.truncated_count:
        trained += f", of which {report.truncated_count:,} are longer than the backbone's window"
    tuned = report.fine_tuning and report.fine_tuning.used
    backbone = f"a fine-tuned tail of {report.backbone}" if tuned else report.backbone
    return tag(
        "header",
        tag("h1", title, " ", tag("small", f"version {report.version}")),
        tag("p", f"A {report.family} head on {backbone}, {trained}.", class_="about"),
        _tiles(report, live),
    )


def _tiles(report: Report, live: LiveCopy | None) -> Markup:
    rows = []
    if answering := live_accuracy(live):
        rows.append(("live copy, which answers", *answering))
    for name, estimate in estimates(report):
        interval = f"{estimate.accuracy_low:.1%} to {estimate.accuracy_high:.1%}"
        rows.append((name, f"{estimate.accuracy:.1%}", interval))
    if report.estimate:
        rows.append(("log-loss", f"{report.estimate.log_loss:.3f}", "nats, lower is better"))
    if report.evaluation:
        error = report.evaluation.expected_calibration_error
        rows.append(("calibration error", f"{error:.1%}", "confidence against accuracy"))
    rows.append(("training", f"{report.train_seconds:.2f} s", _cpu(report)))
    return tiles(rows)


def _cpu(report: Report) -> str:
    seconds = report.train_cpu_seconds
    return f"{seconds:.2f} s of processor time" if seconds else ""


def _live(report: Report, live: LiveCopy | None) -> Markup | None:
    if live is None or not live.scored:
        return None
    words = (
        f"The live copy is {live.state}: it was right on {live.live_right:,} of "
        f"{counted(live.scored, 'feedback')}, version {report.version} on {live.active_right:,}. "
        f"Evidence that it is better: {live.evidence_better:.3g}; that it is worse: "
        f"{live.evidence_worse:.3g}."
    )
    return section("Live copy", tag("p", words))


def _provenance(facts: Mapping[str, str]) -> Markup:
    caption = "The same examples, spec and seed give the same head."
    rows = [(name, tag("span", value, class_="long")) for name, value in facts.items()]
    return section("How it was made", table(["", ""], rows, caption=caption))
