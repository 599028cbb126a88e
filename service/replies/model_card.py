"""A version's model card (Mitchell et al. 2019, https://arxiv.org/abs/1810.03993) in Markdown.

The front matter is the one that model hubs read: YAML, in which every JSON string is a string, too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from service.store.versions import VersionRecord
from trunkline.v1 import heads_pb2

MAX_CLASSES = 200
"""Rows of the table of classes; of more, the rest is counted."""

MAX_BLOCKS = 20

ACCEPTED_SHARES = (0.25, 0.5, 0.75, 1.0)
"""Shares of answers for which the card says how many are right; those nearest to them."""

_SPECIAL = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def model_card(report: heads_pb2.HeadReport, version: VersionRecord) -> str:
    """Writes what the head is, how it was made, how good it is estimated to be, and its limits."""
    parts = [
        *_front_matter(report),
        "",
        f"# {_text(report.head)}, version {report.version}",
        "",
        *_what(report, version),
        "",
        "## How good it is",
        "",
        *_quality(report),
        "",
        "## Classes",
        "",
        *_classes(report),
        "",
        "## How it was made",
        "",
        *_training(report, version),
        "",
        "## Limits",
        "",
        *_limits(report),
        "",
    ]
    return "\n".join(parts)


def _front_matter(report: heads_pb2.HeadReport) -> Iterator[str]:
    yield "---"
    yield "library_name: trunkline"
    yield "tags: [classification, frozen-backbone, trunkline]"
    yield f"base_model: {json.dumps(report.backbone)}"
    measured = []
    if report.HasField("estimate"):
        measured.append(("training examples, each unseen", report.estimate))
    if report.HasField("test"):
        measured.append(("held-out examples", report.test.estimate))
    if measured:
        yield "model-index:"
        yield f"  - name: {json.dumps(f'{report.head}/versions/{report.version}')}"
        yield "    results:"
    for name, estimate in measured:
        yield "      - task: {type: classification}"
        yield f"        dataset: {{type: private, name: {json.dumps(name)}}}"
        yield "        metrics:"
        yield f"          - {{type: accuracy, value: {estimate.accuracy:.4f}}}"
        yield f"          - {{type: log_loss, value: {estimate.log_loss:.4f}}}"
    yield "---"


def _what(report: heads_pb2.HeadReport, version: VersionRecord) -> Iterator[str]:
    yield (
        f"A {_text(report.family)} head that tells {len(version.labels)} classes apart. It takes "
        f"embeddings of the frozen backbone `{report.backbone}`, fingerprint "
        f"`{report.fingerprint}`, and of no other, and gives a probability per class."
    )
    if version.tail is not None:
        tail = version.tail
        yield ""
        yield (
            f"Not as the backbone is, though: {_blocks(tail.blocks)} of it were fine-tuned for "
            f"this head ({_text(tail.strategy)}), {tail.size / 1e6:.1f} MB of weights of its own. "
            "It takes the embeddings that the backbone gives with them, fingerprint "
            f"`{tail.fingerprint}`."
        )


def _quality(report: heads_pb2.HeadReport) -> Iterator[str]:
    for warning in report.warnings:
        yield f"**{_text(warning)}**"
        yield ""
    if not report.HasField("estimate") and not report.HasField("test"):
        yield "Unknown: there were too few examples to tell, or it was trained elsewhere."
        return
    yield from _table_head("measured", "accuracy", "95 % interval", "log-loss", "calibration error")
    if report.HasField("estimate"):
        error = (
            f"{report.evaluation.expected_calibration_error:.3f}"
            if report.HasField("evaluation")
            else ""
        )
        yield _estimate_row(report.estimate.method, report.estimate, error)
    if report.HasField("test"):
        error = f"{report.test.expected_calibration_error:.3f}"
        yield _estimate_row("on held-out examples", report.test.estimate, error)
    yield ""
    yield (
        "Each prediction that counts here is by a model that had not seen the example. The "
        "log-loss is in nats."
    )
    if report.HasField("groups") and report.groups.count < report.example_count:
        yield ""
        yield (
            f"The {report.example_count} examples are {report.groups.count} groups: those that "
            "belong together, and near-copies, were held out together, and the interval is that of "
            f"{report.estimate.effective_examples:.0f} independent examples."
        )
    if report.HasField("decisions"):
        yield from _decisions(report.decisions)
    if report.estimate.optimism:
        yield ""
        yield (
            "Choosing strength and family on the same examples makes such an accuracy too high, "
            f"here by about {report.estimate.optimism:.1%}; the interval allows for that."
        )


def _decisions(found: heads_pb2.DecisionCurve) -> Iterator[str]:
    """Says what may be accepted without a look: at some shares, and by the head's rule."""
    yield ""
    yield from _table_head("accepted", "more probable than", "of these right", "95 % interval")
    for share in ACCEPTED_SHARES:
        point = min(found.points, key=lambda row: abs(row.share - share))
        interval = f"{point.precision_low:.1%} to {point.precision_high:.1%}"
        precision = f"{point.precision:.1%}"
        yield _row(f"{point.share:.0%}", f"{point.threshold:.4f}", precision, interval)
    yield ""
    yield (
        f"Shares are of {found.examples} predictions as above. Each interval is that of its row "
        "alone: to choose among them takes more."
    )
    if not found.HasField("decide"):
        return
    rule = found.decide
    wanted = f"precision {rule.precision:.4g} at {rule.confidence:.4g} confidence"
    yield ""
    if not rule.acceptance.HasField("threshold"):
        yield f"By the head's rule ({wanted}) nothing is accepted: {_text(rule.acceptance.reason)}."
        return
    yield (
        f"By the head's rule ({wanted}) what is more probable than "
        f"{rule.acceptance.threshold:.4f} is accepted: {rule.acceptance.share:.1%}, of which at "
        f"least {rule.acceptance.precision_low:.1%} are right, the choice allowed for."
    )


def _classes(report: heads_pb2.HeadReport) -> Iterator[str]:
    yield from _table_head("class", "examples", "precision", "recall", "F1")
    for item in report.classes[:MAX_CLASSES]:
        figures = (
            f"{getattr(item, name):.3f}" if item.HasField(name) else "-"
            for name in ("precision", "recall", "f1")
        )
        yield _row(_text(item.label), str(item.examples), *figures)
    if len(report.classes) > MAX_CLASSES:
        yield ""
        yield f"And {len(report.classes) - MAX_CLASSES} more."


def _training(report: heads_pb2.HeadReport, version: VersionRecord) -> Iterator[str]:
    source = {
        "training": "trained on stored examples",
        "feedback": "learned from feedback while it served",
        "import": "imported; how it was trained is not known",
    }
    yield f"- Source: {source.get(version.source, version.source)}."
    yield f"- Examples: {report.example_count}."
    if report.truncated_count:
        yield (
            f"- Of these, {report.truncated_count} texts are longer than the backbone's window: "
            "what lies beyond it had no part."
        )
    spec = report.spec
    strength = f"L2 strength {report.l2:g}" if report.l2 else "no penalty"
    if version.source != "import":
        yield (
            f"- Asked for: family {spec.family}, front {spec.front}, seed {spec.seed}; "
            f"used: {report.family}, {strength}, temperature {report.temperature:.3g}."
        )
        yield (
            f"- Took {report.train_seconds:.2f} s, {report.train_cpu_seconds:.2f} s of it on the "
            "processor."
        )
    if report.HasField("augmentation"):
        augmentation = report.augmentation
        yield (
            f"- Augmentation: {augmentation.views} views of {augmentation.augmented_examples} "
            f"examples, used: {augmentation.used}."
        )
    if report.HasField("fine_tuning"):
        yield from _fine_tuning(report.fine_tuning)
    if report.HasField("novelty"):
        novelty = report.novelty
        then = "get no answer" if novelty.abstain else "are marked"
        yield (
            f"- Inputs like none of the examples {then}; {novelty.false_alarm_rate:.1%} of "
            "ordinary ones may be among them. The file holds embeddings to compare with."
        )


def _fine_tuning(report: heads_pb2.FineTuningReport) -> Iterator[str]:
    without, tuned = report.without_tail, report.with_tail
    yield (
        f"- Fine-tuning ({_text(report.strategy)}), on the same folds: {without.accuracy:.1%} "
        f"accuracy and {without.log_loss:.3f} log-loss without, {tuned.accuracy:.1%} and "
        f"{tuned.log_loss:.3f} with it; {report.epochs} epochs, {report.seconds_with:.0f} s in "
        f"place of {report.seconds_without:.0f} s, {report.bytes_with / 1e6:.2f} MB in place of "
        f"{report.bytes_without / 1e6:.2f} MB. {'Used' if report.used else 'Not used'}: "
        f"{_text(report.reason)}."
    )
    chosen = ", chosen on the folds" if report.tried else ""
    count = f"{report.view_count} {report.views}" if report.view_count else "none"
    yield f"- Views it was fine-tuned on beside each image: {count}{chosen}."
    for trial in report.tried:
        yield f"- Tried: {trial.count} {trial.views}, {_text(trial.reason)}."
    if report.HasField("averaged"):
        yield (
            f"- Predictions that average over {report.view_count} {report.views}, too: "
            f"{report.averaged.accuracy:.1%} accuracy and {report.averaged.log_loss:.3f} log-loss, "
            f"at {1 + report.view_count} times the cost."
        )


def _blocks(names: Sequence[str]) -> str:
    shown = ", ".join(f"`{name}`" for name in names[:MAX_BLOCKS])
    return shown if len(names) <= MAX_BLOCKS else f"{shown} and {len(names) - MAX_BLOCKS} more"


def _limits(report: heads_pb2.HeadReport) -> Iterator[str]:
    yield (
        "- Figures hold for inputs like the examples. Where inputs change, they do not; measure "
        "again on new ones."
    )
    if not report.HasField("novelty"):
        yield "- It gives one of its classes to any input, also to one that belongs to none."
    yield "- The backbone was trained by others on other data, whose biases it carries along."
    rare = [item.label for item in report.classes if 0 < item.examples < 10]
    if rare:
        names = ", ".join(_text(label) for label in rare[:10])
        more = f" and {len(rare) - 10} more" if len(rare) > 10 else ""
        yield f"- Fewer than 10 examples, so hardly known: {names}{more}."


def _estimate_row(name: str, estimate: heads_pb2.Estimate, error: str) -> str:
    interval = f"{estimate.accuracy_low:.1%} to {estimate.accuracy_high:.1%}"
    return _row(name, f"{estimate.accuracy:.1%}", interval, f"{estimate.log_loss:.3f}", error)


def _table_head(*names: str) -> Iterator[str]:
    yield _row(*names)
    yield _row("---", *("---:" for _ in names[1:]))


def _row(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def _text(value: str) -> str:
    """Escapes text, so that Markdown shows it as it is, also in a cell of a table."""
    return _SPECIAL.sub(r"\\\1", value)
