"""Which views a tail is tuned on: the folds decide, within a bounded effort."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import adapters
from adapters.errors import ViewsUnavailable
from adapters.spec import FLIPPED, ViewSet
from adapters.tuning import Activations, Tuned, TuningProgress
from tests.adapters.tuning.tiny_tails import Kept, Stored, convolutions, spec, textures, tuned

pytestmark = pytest.mark.tuning

N, EPOCHS, FOLDS = 60, 6, 5
FLIPS = ViewSet(FLIPPED, 3)


class StopError(Exception):
    """A caller has had enough."""


class Views:
    """Views that help, mislead or are copies, made when they are asked for."""

    def __init__(self, examples: Stored, **kinds: str) -> None:
        self.examples = examples
        self._kinds = kinds
        self.made: list[str] = []

    def __call__(self, views: ViewSet) -> Activations:
        self.made.append(views.kind)
        kind = self._kinds.get(views.kind, "misleading")
        if kind == "impossible":
            raise ViewsUnavailable("there is no room")
        return self.of(views.count, kind)

    def of(self, count: int, kind: str) -> Stored:
        """The examples themselves, then their views."""
        rows = np.arange(len(self.examples))
        own = self.examples.rows(rows, rows * 0)[0]
        if kind == "misleading":  # every second column turned around: the other class
            view = own * np.where(np.arange(own.shape[-1]) % 2, 1, -1).astype(own.dtype)
            return Stored(np.stack([own, *[view] * count]))
        if kind == "copies":
            return Stored(np.stack([own] * (1 + count)))
        fresh = [_like(rows, seed) for seed in range(100, 100 + count)]
        return Stored(np.stack([own, *fresh]).astype(own.dtype))


def _like(rows: NDArray[np.intp], seed: int) -> Any:
    """As many other examples of the same classes: more to learn from."""
    return textures(len(rows), seed=seed)[0].rows(rows, rows * 0)[0]


SETTINGS: dict[str, Any] = {"max_epochs": EPOCHS, "learning_rate": 0.02}


def choose(views: Views, max_epochs: int = EPOCHS, **more: Any) -> Tuned:
    """Tune on textures, and let the folds choose among these views."""
    labels = [f"class {row % 2}" for row in range(len(views.examples))]
    settings = spec(**{**SETTINGS, "max_epochs": max_epochs})
    return tuned(convolutions(), views.examples, labels, settings, views_of=views, **more)


def named(views: ViewSet, kind: str = "") -> Tuned:
    """What naming these views leads to."""
    activations, labels = textures(N)
    given = Views(activations).of(views.count, kind) if views.count else activations
    settings = spec(**SETTINGS, views=views.count, flips=views.flips)
    return tuned(convolutions(), given, labels, settings)


def views(**kinds: str) -> Views:
    return Views(textures(N)[0], **kinds)


@pytest.fixture(scope="module")
def helpful() -> Tuned:
    """What flips that help lead to."""
    return choose(views(flips="helpful", crops="helpful"))


@pytest.fixture(scope="module")
def misleading() -> Tuned:
    """What flips and crops that mislead lead to."""
    return choose(views(flips="misleading", crops="misleading"))


def report_of(found: Tuned) -> adapters.report.FineTuningReport:
    report = found.fitted.report.fine_tuning
    assert report is not None
    return report


def same(one: Tuned, other: Tuned) -> None:
    assert one.tail is not None
    assert other.tail is not None
    for name, values in one.tail.tensors.items():
        np.testing.assert_array_equal(other.tail.tensors[name], values)
    np.testing.assert_array_equal(other.fitted.head.weight, one.fitted.head.weight)
    assert report_of(one).curve == report_of(other).curve
    assert report_of(one).with_tail == report_of(other).with_tail
    assert report_of(one).averaged == report_of(other).averaged


def test_views_that_help_are_chosen_and_give_what_naming_them_gives(helpful: Tuned) -> None:
    report = report_of(helpful)
    assert (report.views, report.view_count) == ("flips", 3)
    flips, crops = report.tried
    assert (flips.views, flips.count, flips.chosen, flips.folds) == ("flips", 3, True, FOLDS)
    assert flips.estimate is not None
    assert flips.without is not None
    assert flips.estimate.log_loss < flips.without.log_loss
    assert flips.estimate.method == flips.without.method == "5-fold cross-validation"
    assert (crops.folds, crops.estimate, crops.chosen) == (0, None, False)
    assert "effort" in crops.reason
    same(helpful, named(FLIPS, "helpful"))


def test_views_that_mislead_are_given_up_on_one_fold_and_none_are_used(misleading: Tuned) -> None:
    report = report_of(misleading)
    assert (report.views, report.view_count, report.averaged) == ("none", 0, None)
    assert [one.views for one in report.tried] == ["flips", "crops"]
    for one in report.tried:
        assert (one.folds, one.epochs, one.chosen) == (1, 1, False)
        assert one.estimate is not None
        assert one.without is not None
        assert one.estimate.log_loss > one.without.log_loss
        assert one.reason.startswith("given up")
    same(misleading, named(ViewSet()))


def test_crops_are_tried_where_flips_were_given_up_and_chosen_where_they_help() -> None:
    report = report_of(choose(views(flips="misleading", crops="helpful")))
    flips, crops = report.tried
    assert flips.reason.startswith("given up")
    assert (crops.folds, crops.chosen, report.views) == (FOLDS, True, "crops")


def test_views_that_cannot_be_made_are_not_tried_and_the_report_says_why() -> None:
    report = report_of(choose(views(flips="impossible", crops="impossible")))
    assert report.views == "none"
    assert [one.reason for one in report.tried] == ["not tried: there is no room"] * 2
    assert all(one.estimate is None and not one.folds for one in report.tried)


def test_crops_are_not_tried_where_few_epochs_leave_nothing_to_pay_with() -> None:
    asked = views(flips="misleading", crops="helpful")
    report = report_of(choose(asked, max_epochs=2))
    assert asked.made == ["flips"]
    assert report.tried[1].reason == "not tried: there are too few epochs to pay for it"


def test_named_views_are_taken_without_trying_others() -> None:
    asked = views(flips="helpful")
    activations, labels = textures(N)
    report = report_of(
        tuned(convolutions(), activations, labels, spec(max_epochs=1, views=0), views_of=asked)
    )
    assert (report.views, report.tried, asked.made) == ("none", (), [])


def test_inputs_without_views_leave_nothing_to_choose() -> None:
    activations, labels = textures(N)
    report = report_of(tuned(convolutions(), activations, labels, spec(max_epochs=1)))
    assert (report.views, report.view_count, report.tried) == ("none", 0, ())


@pytest.mark.parametrize("flips", ["helpful", "misleading", "copies"])
def test_effort_is_told_beforehand_and_at_most_twice_that_of_the_chosen_views(flips: str) -> None:
    """Counted in passes over all examples; computing a view's activations counts as one."""
    told: list[TuningProgress] = []

    def progress(share: float, phase: str, details: Mapping[str, Any] | None = None) -> None:
        assert details is not None
        told.append(TuningProgress(**details))
        assert share == told[-1].done

    asked = views(flips=flips, crops="helpful")
    report = report_of(choose(asked, progress=progress))
    shares = [one.done for one in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    bounds = [one.most_passes for one in told]
    assert bounds == sorted(bounds, reverse=True)
    assert len(told) <= bounds[0]
    assert [one.passes for one in told] == list(range(1, len(told) + 1))
    whole = sum(one.fold == 0 for one in told)
    alone = sum(one.views == report.views for one in told) - whole
    lost = len(told) - whole - alone
    share = 1 - 1 / FOLDS
    made = 1 + 3 * len(asked.made)
    assert lost * share + alone * share + whole + made <= 2 * (
        alone * share + whole + 1 + report.view_count
    )


@pytest.mark.parametrize(
    ("flips", "stop_after"),
    [("helpful", 1), ("helpful", 30), ("misleading", 3), ("misleading", 20)],
)
def test_going_on_from_a_checkpoint_gives_the_same_choice_and_tail(
    flips: str, stop_after: int, helpful: Tuned, misleading: Tuned
) -> None:
    straight = helpful if flips == "helpful" else misleading
    kinds = {"flips": flips, "crops": flips}
    kept, reported = Kept(), list[tuple[str, int, int]]()
    passes: list[int] = []

    def progress(share: float, phase: str, details: Mapping[str, Any] | None = None) -> None:
        assert details is not None
        reported.append((details["views"], details["fold"], details["epoch"]))
        passes.append(details["passes"])
        if len(reported) == stop_after:
            raise StopError

    with pytest.raises(StopError):
        choose(views(**kinds), progress=progress, checkpoints=kept)
    asked = views(**kinds)
    again = choose(asked, progress=progress, checkpoints=kept)
    assert len(set(reported)) == len(reported)  # nothing was done twice
    assert passes == list(range(1, len(passes) + 1))
    same(straight, again)
    assert report_of(again).tried == report_of(straight).tried
    if stop_after == 20:
        assert asked.made == []  # of what had been given up


def test_averaging_over_the_views_is_estimated_on_the_same_folds(helpful: Tuned) -> None:
    report = report_of(helpful)
    assert report.averaged is not None
    assert report.averaged.method == report.with_tail.method
    assert report.averaged != report.with_tail
    stored = json.loads(json.dumps(helpful.fitted.report.to_json()))
    assert adapters.Report.from_json(stored) == helpful.fitted.report


def test_averaging_over_copies_brings_nothing() -> None:
    report = report_of(named(FLIPS, "copies"))
    assert report.averaged is not None
    assert report.averaged.accuracy == report.with_tail.accuracy
    assert report.averaged.log_loss == pytest.approx(report.with_tail.log_loss, rel=1e-6)
