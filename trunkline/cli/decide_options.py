"""Options of a head's rule, by which answers are accepted or left for review; and it in words."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

from trunkline.values.heads import Acceptance, Decide
from trunkline.wording import percent

Command = Callable[..., Any]

_SHARE = click.FloatRange(min=0.5, max=0.9999)


@dataclass(frozen=True)
class DecideOptions:
    """The options of a rule, each None where it was not given."""

    decide_precision: float | None
    decide_confidence: float | None

    def on(self, base: Decide | None) -> Decide | None:
        """Returns the rule that the options make of `base`; None if none was given.

        One that wants precision 0 is none any more.
        """
        precision, confidence = self.decide_precision, self.decide_confidence
        if precision is None and confidence is None:
            return None
        if precision is None and base is None:
            raise click.UsageError("--decide-confidence needs --decide-precision.")
        rule = base or Decide(0.0)
        if precision is not None:
            rule = replace(rule, precision=precision)
        if confidence is not None:
            rule = replace(rule, confidence=confidence)
        return replace(rule, acceptance=None)


def decide_options(function: Command) -> Command:
    """Gives a command `--decide-precision` and `--decide-confidence`, as one `decide`."""

    @functools.wraps(function)
    def command(**parameters: Any) -> Any:
        given = {name: parameters.pop(name) for name in DecideOptions.__dataclass_fields__}
        return function(**parameters, decide=DecideOptions(**given))

    for option in (
        click.option(
            "--decide-confidence",
            type=_SHARE,
            metavar="P",
            help="In how many cases a version's threshold is to keep --decide-precision "
            "(default: 0.95).",
        ),
        click.option(
            "--decide-precision",
            type=click.FloatRange(min=0, max=0.9999),
            metavar="P",
            help="Say of each answer whether to accept it, so that this share of those accepted is "
            "right (from 0.5 to 0.9999; 0: say nothing).",
        ),
    ):
        option(command)
    return command


def rule_words(rule: Decide | None) -> str | None:
    """Describes a rule in one line; None for none."""
    if rule is None:
        return None
    return f"{rule.precision:.4g} right of those accepted, at {rule.confidence:.4g} confidence"


def acceptance_words(found: Acceptance) -> str:
    """Describes what is accepted of a version's answers."""
    if found.threshold is None:
        return f"nothing: {found.reason}"
    what = f"more probable than {found.threshold:.4f}" if found.threshold else "everything"
    low, high = found.precision_low, found.precision_high
    return (
        f"{what}: {percent(found.share)} of {found.examples:,} held-out predictions, "
        f"{percent(found.precision)} of them right ({low:.1%} to {high:.1%})"
    )
