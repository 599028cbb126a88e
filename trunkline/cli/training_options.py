"""Options that say how a head is trained and what feedback does to it."""

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import click

from trunkline.values.heads import Augmentation, FineTune, HeadSpec, Novelty, Policy

Command = Callable[..., Any]

FLIPS = 3
"""An image has no more flips than these."""

CHOOSE = "auto"
"""Lets the folds choose views."""

_NO_TUNING = "none"
WHOLE = "full"
"""The strategy that leaves nothing of the backbone to share."""

_STRATEGIES = (_NO_TUNING, "last_block", "gradual", "tail", WHOLE)


@dataclass(frozen=True)
class SpecOptions:
    """The options of a spec, each None where it was not given."""

    family: str | None
    seed: int | None
    l2: float | None
    front: str | None
    class_weight: str | None
    views: int | None
    noise: float | None
    novelty: float | None
    abstain: bool | None
    fine_tune: str | None
    epochs: int | None
    learning_rate: float | None
    rate_decay: float | None
    tune_views: int | str | None
    flips: bool | None
    average_views: int | None

    @property
    def tunes(self) -> bool:
        """Whether they ask for fine-tuning, which needs the inputs to be kept."""
        return self.fine_tune not in (None, _NO_TUNING)

    def on(self, base: HeadSpec) -> HeadSpec | None:
        """Returns the spec that the options make of `base`; None if none was given."""
        if not _given(**vars(self)):
            return None
        chosen = _given(
            family=self.family,
            seed=self.seed,
            l2=self.l2,
            front=self.front,
            average_views=self.average_views,
        )
        if self.class_weight is not None:
            weight = None if self.class_weight == "none" else self.class_weight
            chosen |= {"class_weight": weight, "class_weights": {}}
        return replace(
            base,
            **chosen,
            augment=replace(base.augment, **_given(views=self.views, noise=self.noise)),
            novelty=self._novelty(base.novelty),
            fine_tune=self._fine_tune(base.fine_tune),
        )

    def _novelty(self, base: Novelty | None) -> Novelty | None:
        if self.novelty == 0:
            return None
        given = _given(false_alarm_rate=self.novelty, abstain=self.abstain)
        return replace(base or Novelty(), **given) if given else base

    def _fine_tune(self, base: FineTune | None) -> FineTune | None:
        given = self._views(base) | _given(
            max_epochs=self.epochs, learning_rate=self.learning_rate, rate_decay=self.rate_decay
        )
        strategy = self.fine_tune or (base.strategy if base else _NO_TUNING)
        if strategy != _NO_TUNING:
            return replace(base or FineTune(strategy), strategy=strategy, **given)
        if given:
            raise click.UsageError(
                "--epochs, --learning-rate, --rate-decay, --tune-views and --flips need "
                "--fine-tune."
            )
        return None

    def _views(self, base: FineTune | None) -> dict[str, Any]:
        """Returns what names views: a kind without a number means as many as there are flips."""
        if self.tune_views == CHOOSE:
            if self.flips is not None:
                raise click.UsageError(
                    f"--tune-views {CHOOSE} chooses between --flips and --crops."
                )
            return {"views": None, "flips": False}
        if self.flips is None:
            return _given(views=self.tune_views)
        had = base.views if base and base.flips == self.flips else None
        views = self.tune_views if self.tune_views is not None else had or FLIPS
        return {"views": views, "flips": self.flips}


def _given(**options: Any) -> dict[str, Any]:
    """Returns the options that were given."""
    return {name: value for name, value in options.items() if value is not None}


if TYPE_CHECKING:
    _Type = click.ParamType[int | str]
else:
    _Type = click.ParamType  # generic from click 8.4 on only


class _Views(_Type):
    """A number of views, or the word that lets the folds choose."""

    name = "views"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> int | str:
        return CHOOSE if value == CHOOSE else click.IntRange(min=0).convert(value, param, ctx)


_NOVELTY, _TUNE = Novelty(), FineTune("last_block")

_OPTIONS = (
    click.option(
        "--family",
        metavar="NAME",
        help="The kind of head: auto, logistic, ridge, lda or prototype "
        "(default: the head's own, else auto).",
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), help="The same examples and seed give the same head."
    ),
    click.option(
        "--l2",
        type=click.FloatRange(min=0, min_open=True),
        help="A fixed strength of the L2 regularisation (default: chosen by validation).",
    ),
    click.option(
        "--front",
        metavar="NAME",
        help="What stands between embedding and head: standardise, normalise or projection.",
    ),
    click.option(
        "--class-weight",
        type=click.Choice(["balanced", "none"]),
        help="Weigh classes inversely to their number of examples, or all alike.",
    ),
    click.option(
        "--views",
        type=click.IntRange(min=0),
        metavar="N",
        help="Views to make of each image, or noisy copies of each text; used where they help.",
    ),
    click.option(
        "--noise",
        type=click.FloatRange(min=0, min_open=True),
        metavar="SD",
        help="Noise of those copies, in standard deviations of each feature "
        f"(default: {Augmentation().noise}).",
    ),
    click.option(
        "--novelty",
        is_flag=False,
        flag_value=_NOVELTY.false_alarm_rate,
        type=click.FloatRange(min=0, max=1, max_open=True),
        metavar="[RATE]",
        help="Recognise novel inputs, at this rate of false alarms "
        f"({_NOVELTY.false_alarm_rate} if none is given; 0: do not).",
    ),
    click.option(
        "--abstain/--answer",
        default=None,
        help="Give novel inputs no answer, or the best there is.",
    ),
    click.option(
        "--fine-tune",
        type=click.Choice(_STRATEGIES),
        help="Fine-tune a part of the backbone: its last block, its blocks from the last one back "
        "to the cut while that helps (gradual), all after the cut (tail), or all of it (full): it "
        "shares nothing with other heads then.",
    ),
    click.option(
        "--epochs",
        type=click.IntRange(min=1),
        metavar="N",
        help=f"Fine-tuning: passes over the examples at most (default: {_TUNE.max_epochs}).",
    ),
    click.option(
        "--learning-rate",
        type=click.FloatRange(min=0, min_open=True),
        metavar="RATE",
        help=f"Fine-tuning: the highest rate of the last block (default: {_TUNE.learning_rate}).",
    ),
    click.option(
        "--rate-decay",
        type=click.FloatRange(min=0, max=1, min_open=True),
        metavar="FACTOR",
        help="Fine-tuning: factor of the rate from each block to the one before it "
        f"(default: {_TUNE.rate_decay}).",
    ),
    click.option(
        "--tune-views",
        type=_Views(),
        metavar="N",
        help="Fine-tuning: views of each image to train on beside the image itself, 0 for none "
        "(default: auto, what is best on held-out examples).",
    ),
    click.option(
        "--flips/--crops",
        default=None,
        help="Fine-tuning: let views be the image mirrored, upside down, and both, where images "
        "have no up and down, or crops (3, unless --tune-views says how many).",
    ),
    click.option(
        "--average-views",
        type=click.IntRange(min=0),
        metavar="N",
        help="Let predictions of this head average over N views of each image where they are not "
        "told how many; each costs another pass of the backbone (0: none).",
    ),
)


def spec_options(function: Command) -> Command:
    """Gives a command `--family`, `--seed` and the others, which it takes as one `spec`."""

    @functools.wraps(function)
    def command(**parameters: Any) -> Any:
        given = {name: parameters.pop(name) for name in SpecOptions.__dataclass_fields__}
        return function(**parameters, spec=SpecOptions(**given))

    for option in reversed(_OPTIONS):
        option(command)
    return command


policy_option = click.option(
    "--policy",
    type=click.Choice([str(policy) for policy in Policy]),
    help="What feedback does: serve at once (immediate), when it is shown to be better (gated, "
    "the default of a new head), or when you say so (manual).",
)
