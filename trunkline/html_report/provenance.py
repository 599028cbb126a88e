"""How a version was made, in words, for its page and for the command line."""

from trunkline.values.heads import FineTune, HeadSpec
from trunkline.values.reports import Report


def provenance(report: Report) -> dict[str, str]:
    """Describes how the version was made, for `report_page`."""
    return {
        "family": report.family,
        "spec": spec_words(report.spec),
        "l2": "none" if report.l2 is None else f"{report.l2:.4g}",
        "temperature": f"{report.temperature:.4g}",
        "backbone": report.backbone,
        "fingerprint": report.fingerprint,
        "examples": f"{report.example_count:,}",
        **({"groups": groups} if (groups := group_words(report)) else {}),
        "training time": f"{report.train_seconds:.2f} s, "
        f"{report.train_cpu_seconds:.2f} s of processor time",
    }


def group_words(report: Report) -> str | None:
    """Describes which examples are no independent evidence; None where all are."""
    found, estimate = report.groups, report.estimate
    if found is None or found.count == report.example_count:
        return None
    words = [f"{found.count:,} of {report.example_count:,} examples"]
    if found.named:
        words.append(f"{found.named:,} named")
    if found.near_copies_within or found.near_copies_across:
        words.append(
            f"near-copies: {found.near_copies_within:,} within classes, "
            f"{found.near_copies_across:,} across"
        )
    if found.missed:
        words.append(f"a pair is missed with probability {found.missed:.1%}")
    if estimate and estimate.effective_examples:
        words.append(f"the interval is that of {estimate.effective_examples:.0f} examples")
    return "; ".join(words)


def spec_words(spec: HeadSpec) -> str:
    """Describes a spec in one line; options that are off are left out."""
    words = [f"family {spec.family}", f"seed {spec.seed}", f"l2 {spec.l2 or 'chosen'}"]
    words.append(f"front {spec.front}")
    if spec.class_weight:
        words.append(f"class weight {spec.class_weight}")
    if spec.class_weights:
        weights = ", ".join(f"{label} {weight:g}" for label, weight in spec.class_weights.items())
        words.append(f"class weights {weights}")
    if spec.augment.views:
        words.append(f"views {spec.augment.views}")
    if spec.novelty:
        rate = f"novelty at {spec.novelty.false_alarm_rate:g} false alarms"
        words.append(f"{rate}, abstains" if spec.novelty.abstain else rate)
    if spec.fine_tune:
        words.append(_tuning_words(spec.fine_tune))
    if spec.average_views:
        words.append(f"averages over {spec.average_views} views")
    return ", ".join(words)


def _tuning_words(tune: FineTune) -> str:
    words = f"fine-tuning {tune.strategy} (at most {tune.max_epochs} epochs"
    words += f", rate {tune.learning_rate:g}, decay {tune.rate_decay:g}"
    kind = "flips" if tune.flips else "views"
    return f"{words}, {kind} {'chosen' if tune.views is None else tune.views})"
