"""Options that say which inputs of a head's traffic are kept for people to look at."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import click

from trunkline.values.capture import Capture
from trunkline.wording import size

Command = Callable[..., Any]

ASKED = "asked"
"""Keeps those alone whose request asks for it."""

RULES = ("random", "uncertain", "novel", "conformal")
_NONE = Capture()


@dataclass(frozen=True)
class CaptureOptions:
    """The options, each None where it was not given; `no_capture` ends it."""

    capture: tuple[tuple[str, float], ...]
    no_capture: bool
    capture_share: float | None
    capture_margin: float | None
    capture_level: float | None
    capture_per_hour: int | None
    capture_count: int | None
    capture_bytes: int | None
    capture_days: int | None

    def on(self, base: Capture | None) -> Capture | bool | None:
        """Returns what the options make of `base`; False to end it, None if none was given."""
        bounds: dict[str, Any] = {
            "share": self.capture_share,
            "uncertain_margin": self.capture_margin,
            "conformal_level": self.capture_level,
            "per_hour": self.capture_per_hour,
            "max_count": self.capture_count,
            "max_bytes": self.capture_bytes,
            "days": self.capture_days,
        }
        given = {name: value for name, value in bounds.items() if value is not None}
        if self.no_capture:
            if given or self.capture:
                raise click.UsageError("--no-capture goes with no other option of capturing.")
            return False
        if not given and not self.capture:
            return None
        if base is None and not self.capture:
            raise click.UsageError("Say what is to be kept, with --capture.")
        rules: dict[str, Any] = {}
        if self.capture:
            rules = {f"{rule}_share": 0.0 for rule in RULES}
            rules |= {f"{rule}_share": share for rule, share in self.capture if rule != ASKED}
        return replace(base or _NONE, **rules, **given)


class _Rule(click.ParamType):  # type: ignore[type-arg, unused-ignore]
    """A rule and its share, such as ``random=0.01``; or ``asked``."""

    name = "rule"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, float]:
        if value == ASKED:
            return ASKED, 0.0
        rule, _, share = str(value).partition("=")
        if rule not in RULES:
            self.fail(f"{rule!r} is none of {', '.join(RULES)} and {ASKED}.", param, ctx)
        number: Any = share or 1.0
        return rule, click.FloatRange(min=0, max=1).convert(number, param, ctx)


_OPTIONS = (
    click.option(
        "--capture",
        type=_Rule(),
        multiple=True,
        metavar="RULE=SHARE",
        help="Keep inputs of the traffic for people to look at: this share of all (random), of "
        "those the head is unsure of (uncertain), that are like none of the examples (novel), or "
        "whose set has not one class (conformal); or those alone whose request asks (asked). "
        "Repeatable; takes the place of the rules before.",
    ),
    click.option("--no-capture", is_flag=True, help="Keep nothing more of the traffic."),
    click.option(
        "--capture-share",
        type=click.FloatRange(min=0, max=1, min_open=True),
        metavar="SHARE",
        help="The share of the traffic that rules are tried on (default: all).",
    ),
    click.option(
        "--capture-margin",
        type=click.FloatRange(min=0, max=1, min_open=True),
        metavar="P",
        help="Unsure is less than this between the two highest probabilities "
        f"(default: {_NONE.uncertain_margin}).",
    ),
    click.option(
        "--capture-level",
        type=click.FloatRange(min=0, max=1, min_open=True, max_open=True),
        metavar="P",
        help=f"The level of the sets (default: {_NONE.conformal_level}).",
    ),
    click.option(
        "--capture-per-hour",
        type=click.IntRange(min=1),
        metavar="N",
        help=f"At most so many in an hour (default: {_NONE.per_hour}).",
    ),
    click.option(
        "--capture-count",
        type=click.IntRange(min=1),
        metavar="N",
        help=f"At most so many are kept (default: {_NONE.max_count}).",
    ),
    click.option(
        "--capture-bytes",
        type=click.IntRange(min=1),
        metavar="N",
        help=f"At most so many bytes of inputs are kept (default: {_NONE.max_bytes}).",
    ),
    click.option(
        "--capture-days",
        type=click.IntRange(min=1),
        metavar="N",
        help=f"For how long (default: {_NONE.days}).",
    ),
)


def capture_options(function: Command) -> Command:
    """Gives a command `--capture` and what belongs to it, which it takes as one `capture`."""

    @functools.wraps(function)
    def command(**parameters: Any) -> Any:
        given = {name: parameters.pop(name) for name in CaptureOptions.__dataclass_fields__}
        return function(**parameters, capture=CaptureOptions(**given))

    for option in reversed(_OPTIONS):
        option(command)
    return command


def capture_words(capture: Capture | None) -> str:
    """Describes what is kept in one line."""
    if capture is None:
        return "nothing"
    shares = {
        "at random": capture.random_share,
        f"with a margin below {capture.uncertain_margin:g}": capture.uncertain_share,
        "novel": capture.novel_share,
        f"of not one class at level {capture.conformal_level:g}": capture.conformal_share,
    }
    words = [f"{share:.4g} {what}" for what, share in shares.items() if share]
    if capture.share < 1:
        words = [f"of {capture.share:g} of the traffic", *words]
    return (
        f"{', '.join(words) or 'what requests ask for'}; at most {capture.per_hour:,} an hour, "
        f"{capture.max_count:,} of {size(capture.max_bytes)} in all, for {capture.days} days"
    )
