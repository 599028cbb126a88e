"""Laws of what is tuned when, and how fast."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.spec import FineTune
from adapters.tuning.schedule import PATIENCE, START, Plan, one_cycle

shares = st.floats(0, 1)
specs = st.builds(
    FineTune,
    strategy=st.sampled_from(["last_block", "gradual", "tail", "full"]),
    max_epochs=st.integers(1, 40),
    learning_rate=st.floats(1e-6, 0.1),
    rate_decay=st.floats(0.01, 1),
)
blocks = st.integers(1, 12)


@given(shares)
def test_the_rate_stays_between_next_to_nothing_and_the_highest(position: float) -> None:
    assert 0 < one_cycle(position) <= 1


def test_a_cycle_rises_and_falls_to_less_than_it_began_with() -> None:
    rates = [one_cycle(step / 100) for step in range(101)]
    top = rates.index(max(rates))
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert rates[0] == pytest.approx(START)
    assert max(rates) == pytest.approx(1)
    assert rates[-1] < rates[0] / 1000


@given(specs, blocks, st.data())
def test_rates_fall_by_one_factor_from_the_output_to_the_cut(
    spec: FineTune, count: int, data: st.DataObject
) -> None:
    plan = Plan.of(spec, count)
    epoch = data.draw(st.integers(1, plan.epochs))
    rates = plan.rates(epoch, data.draw(shares), count)
    tuned = plan.stage(epoch).blocks
    assert all(rate == 0 for rate in rates[: count - tuned])
    assert all(0 < rate <= spec.learning_rate for rate in rates[count - tuned :])
    pairs = zip(rates[count - tuned :], rates[count - tuned + 1 :], strict=False)
    for before, after in pairs:
        assert before == pytest.approx(after * spec.rate_decay)


@given(specs, blocks)
def test_stages_share_the_epochs_and_unfreeze_ever_more(spec: FineTune, count: int) -> None:
    plan = Plan.of(spec, count)
    assert plan.epochs == spec.max_epochs
    assert [stage.first for stage in plan.stages] == [
        1,
        *(stage.last + 1 for stage in plan.stages[:-1]),
    ]
    tuned = [stage.blocks for stage in plan.stages]
    assert tuned == sorted(set(tuned))
    if spec.strategy == "gradual":
        assert tuned[0] == 1
        assert len(tuned) == min(count, spec.max_epochs)
    else:
        assert tuned == [1 if spec.strategy == "last_block" else count]


@given(specs, blocks, st.lists(st.floats(0, 10), min_size=1))
def test_a_tuning_ends(spec: FineTune, count: int, losses: list[float]) -> None:
    plan = Plan.of(spec, count)
    assert not plan.goes_on([*losses, *[0.0] * plan.epochs])


@given(specs, blocks, st.integers(1, 39))
def test_it_goes_on_while_every_epoch_helps(spec: FineTune, count: int, epochs: int) -> None:
    plan = Plan.of(spec, count)
    losses = [1 / epoch for epoch in range(1, epochs + 1)]
    assert plan.goes_on(losses) == (epochs < plan.epochs)


def test_it_stops_when_nothing_has_helped_for_long() -> None:
    plan = Plan.of(FineTune("tail", max_epochs=20), 3)
    losses = [1.0, 0.5, *[0.6] * (PATIENCE - 1)]
    assert plan.goes_on(losses)
    assert not plan.goes_on([*losses, 0.6])


def test_gradual_unfreezing_stops_after_a_stage_that_did_not_help() -> None:
    plan = Plan.of(FineTune("gradual", max_epochs=9), 3)
    assert [stage.last for stage in plan.stages] == [3, 6, 9]
    assert plan.goes_on([0.9, 0.8, 0.7])
    assert plan.goes_on([0.9, 0.8, 0.7, 0.75, 0.72])
    assert plan.goes_on([0.9, 0.8, 0.7, 0.75, 0.72, 0.6])
    assert not plan.goes_on([0.9, 0.8, 0.7, 0.75, 0.72, 0.71])
