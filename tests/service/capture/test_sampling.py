"""Shares of the traffic are what rules say, whatever they are, and the same seed takes the same."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapters
from adapters.conformal import Conformal
from service.capture.rules import CaptureRules
from service.capture.sampling import CONFORMAL, NOVEL, RANDOM, UNCERTAIN, Sampler, ScoredRows

DIM = 4
SHARES = st.floats(0.0, 1.0)


def rows(first: list[float], novelty: list[float] | None = None) -> ScoredRows:
    """Rows of two classes, the first of these probabilities."""
    shares = np.array([[p, 1 - p] for p in first], np.float32)
    order = np.argsort(-shares, axis=1, kind="stable")
    told = None if novelty is None else np.array(novelty, np.float32)
    return ScoredRows(("a", "b"), order, shares, told)


def head(scores: list[float] | None = None) -> adapters.Head:
    made = adapters.Head(
        family="ridge",
        labels=("a", "b"),
        weight=np.zeros((2, DIM), np.float32),
        bias=np.zeros(2, np.float32),
        fingerprint="f",
    )
    if scores is None:
        return made
    return replace(made, conformal=Conformal(np.array(scores, np.float32), 1.0))


def far(count: int, share: float, total: int) -> bool:
    """Whether a count is further from its mean than one of ten million (6 sigma, and a few)."""
    return abs(count - share * total) > 6 * math.sqrt(total * share * (1 - share)) + 3


@given(share=SHARES, random=SHARES, uncertain=SHARES, seed=st.integers(0, 2**32))
def test_every_share_is_kept(share: float, random: float, uncertain: float, seed: int) -> None:
    rules = CaptureRules(share=share or 1.0, random_share=random, uncertain_share=uncertain)
    total = 2000
    taken = Counter(
        reason for _, reason in Sampler(seed).choose(rules, head(), rows([0.55] * total))
    )
    assert not far(taken[RANDOM], rules.share * random, total)
    assert not far(taken[UNCERTAIN], rules.share * (1 - random) * uncertain, total)
    assert taken.keys() <= {RANDOM, UNCERTAIN}


@given(first=st.lists(st.floats(0.0, 1.0, width=32), min_size=1, max_size=50))
def test_drawn_rows_do_not_depend_on_their_answers(first: list[float]) -> None:
    rules = CaptureRules(share=0.8, random_share=0.3)
    taken = list(Sampler(7).choose(rules, head(), rows(first)))
    assert taken == list(Sampler(7).choose(rules, head(), rows([0.5] * len(first))))


@given(first=st.lists(st.floats(0.0, 1.0, width=32), min_size=1, max_size=50))
def test_rule_of_the_margin_takes_the_unsure_ones_alone(first: list[float]) -> None:
    rules = CaptureRules(uncertain_share=1.0, uncertain_margin=0.2)
    scored = rows(first)
    taken = {place for place, _ in Sampler().choose(rules, head(), scored)}
    assert taken == {place for place in range(len(first)) if scored.margin(place) < 0.2}


def test_rule_of_novelty_takes_the_novel_ones_alone() -> None:
    rules = CaptureRules(novel_share=1.0)
    scored = rows([0.9, 0.9, 0.9], [0.5, 1.5, 1.0])
    assert list(Sampler().choose(rules, head(), scored)) == [(1, NOVEL)]
    assert list(Sampler().choose(rules, head(), rows([0.9]))) == []


def test_rule_of_sets_takes_rows_of_no_class_and_of_several() -> None:
    rules = CaptureRules(conformal_share=1.0, conformal_level=0.5)
    scored = rows([0.99, 0.5, 0.8])
    strict = head([-math.log(0.9)])
    assert list(Sampler().choose(rules, strict, scored)) == [(1, CONFORMAL), (2, CONFORMAL)]
    assert list(Sampler().choose(rules, head([1.0]), scored)) == [(1, CONFORMAL)]
    assert list(Sampler().choose(rules, head(), scored)) == []


@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=2, max_size=6),
    scores=st.lists(st.floats(0.0, 20.0, width=32), min_size=1, max_size=30),
    temperature=st.floats(0.2, 5.0),
    level=st.floats(0.05, 0.95),
)
def test_short_way_says_what_the_sets_say(
    logits: list[float], scores: list[float], temperature: float, level: float
) -> None:
    conformal = Conformal(np.sort(np.array(scores, np.float32)), 1 / temperature)
    row = np.array([logits], np.float64)
    odds = np.exp((row - row.max()) / temperature)
    shares = (odds / odds.sum()).astype(np.float32)[0]
    highest = conformal.scores[min(len(scores), math.ceil(level * (len(scores) + 1) - 1e-9)) - 1]
    exact = np.sort(-np.log(odds / odds.sum())[0])[:2]
    if np.isclose(exact, highest, rtol=1e-3, atol=1e-5).any():
        return  # as near as the rounding of a probability
    short = conformal.has_one_class(shares, temperature, level)
    assert short == (int(conformal.sets(row, level).sum()) == 1)


def test_same_seed_takes_the_same() -> None:
    rules = CaptureRules(share=0.5, random_share=0.2, uncertain_share=0.5, uncertain_margin=1.0)
    first = list(np.linspace(0.5, 1.0, 300))

    def taken(seed: int) -> list[tuple[int, str]]:
        return list(Sampler(seed).choose(rules, head(), rows(first)))

    assert taken(1) == taken(1) != taken(2)


@pytest.mark.parametrize(("random", "by_rules"), [(0.0, 9), (0.1, 5)])
def test_rules_leave_room_for_what_is_drawn(random: float, by_rules: int) -> None:
    assert CaptureRules(per_hour=9, random_share=random).bounds.by_rules == by_rules
