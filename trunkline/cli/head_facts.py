"""How a head is shown."""

from trunkline.cli.capture_options import capture_words
from trunkline.cli.decide_options import acceptance_words, rule_words
from trunkline.cli.output import Output, plain
from trunkline.clients.client import Client
from trunkline.html_report.provenance import spec_words
from trunkline.values.heads import Head, LiveCopy, LiveState, Tail
from trunkline.wording import counted, size


def print_head(client: Client, out: Output, head: Head) -> None:
    """Prints a head with the tail of its active version, and its live copy if there is one."""
    tail = client.get_version(head.name).tail if head.active_version else None
    if out.as_json:
        out.document(plain(head) | {"tail": tail})
        return
    out.facts(
        {
            "name": head.name,
            "uid": head.uid,
            "backbone": head.backbone,
            "fingerprint": head.fingerprint,
            "spec": spec_words(head.spec),
            "policy": head.policy,
            "new labels": "taken from feedback" if head.allow_new_labels else "refused",
            "keeps inputs": head.keep_inputs,
            **({"decides": rule_words(head.decide)} if head.decide else {}),
            **_accepted(head),
            "captures": capture_words(head.capture)
            + (f"; {head.capture_count:,} wait" if head.capture_count else ""),
            "active version": head.active_version,
            "tail": tail and f"{tail_words(tail)}: {', '.join(tail.blocks)}",
            "labels": head.labels,
            **{f"{label} is": text for label, text in head.label_descriptions.items()},
            "examples": f"{head.example_count}, {head.labelled_count} of them labelled, "
            f"{head.held_out_count} held out",
            "feedback": f"{head.feedback_count}, {head.quarantined_count} of them in quarantine",
            "created (UTC)": head.create_time,
            "training": head.training,
        }
    )
    if head.live:
        out.facts(live_facts(head.live), title="live copy")


def _accepted(head: Head) -> dict[str, object]:
    found = head.decide and head.decide.acceptance
    return {"accepts": acceptance_words(found)} if found else {}


def live_facts(live: LiveCopy) -> dict[str, object]:
    """Describes the state of a live copy by name, evidence and drift included."""
    state = f"{live.state}: {live.reason}" if live.reason else str(live.state)
    facts: dict[str, object] = {"state": state}
    if live.state in (LiveState.IDLE, LiveState.UNAVAILABLE):
        return facts
    facts |= {
        "learned since version": live.base_version,
        "examples": f"{live.example_count}, {live.feedback_count} of them from feedback",
        "labels": live.labels,
    }
    if live.scored:
        facts |= {
            "right on feedback": f"{live.live_right} of {live.scored}; "
            f"version {live.base_version}: {live.active_right}",
            "evidence that it is better": _evidence(live.evidence_better, live.error_rate),
            "evidence that it is worse": _evidence(live.evidence_worse, live.error_rate),
        }
    if live.near_copies:
        facts["near-copies, no evidence"] = str(live.near_copies)
    if live.chosen_on:
        facts["front and strength"] = f"chosen on {live.chosen_on} examples ({live.family})"
    if live.live_leave_one_out is not None and live.active_leave_one_out is not None:
        facts["leave-one-out accuracy"] = (
            f"{live.live_leave_one_out:.1%}; "
            f"version {live.base_version}: {live.active_leave_one_out:.1%}"
        )
    drift = live.drift
    when = f" at {drift.time:%Y-%m-%d %H:%M:%S} UTC" if drift.time else ""
    facts["drift"] = f"detected{when}" if drift.detected else "none"
    if drift.window:
        last = counted(drift.window, "feedback")
        facts["accuracy now"] = f"{drift.accuracy:.1%} of the last {last}"
    return facts


def tail_words(tail: Tail) -> str:
    """Describes a tail: by which strategy it was made, and its size."""
    return f"{tail.strategy}, {size(tail.size_bytes)}"


def _evidence(value: float, error_rate: float) -> str:
    return f"{value:.3g} (decides at {1 / error_rate:g})" if error_rate else f"{value:.3g}"
