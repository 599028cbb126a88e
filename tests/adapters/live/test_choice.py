"""Family, front and strength are chosen again as a training would choose them."""

from __future__ import annotations

import numpy as np
import pytest

import adapters
from adapters import HeadSpec
from adapters.live import chosen_anew
from tests.adapters.data import noisy
from tests.adapters.live.versions import assert_same


@pytest.mark.parametrize("family", ["ridge", "lda", "prototype", "logistic"])
def test_choice_is_that_of_a_training_on_the_same_examples(family: str) -> None:
    pool, labels = noisy(200, 40, 3, distance=1.0)
    spec = HeadSpec(family)
    version = adapters.fit(pool[:30], labels[:30], spec, fingerprint="f00d").head
    trained = adapters.fit(pool, labels, spec, fingerprint="f00d").head
    chosen = chosen_anew(version, spec, pool, labels)
    assert_same(chosen, trained, 1e-4)
    assert chosen.l2 == pytest.approx(trained.l2)
    assert chosen.temperature == pytest.approx(trained.temperature)
    assert chosen.front is not None
    assert trained.front is not None
    np.testing.assert_array_equal(chosen.front.mean, trained.front.mean)


def test_strength_that_was_named_stays() -> None:
    pool, labels = noisy(200, 40, 3, distance=1.0)
    spec = HeadSpec("ridge", l2=7.0)
    version = adapters.fit(pool[:30], labels[:30], spec, fingerprint="f00d").head
    assert chosen_anew(version, spec, pool, labels).l2 == 7.0


def test_auto_leaves_a_family_that_more_examples_do_not_suit() -> None:
    pool, labels = noisy(300, 40, 2, distance=1.5)
    version = adapters.fit(pool[:20], labels[:20], HeadSpec("prototype"), fingerprint="f00d").head
    assert chosen_anew(version, HeadSpec(), pool, labels).family in ("ridge", "lda")
    assert chosen_anew(version, HeadSpec("prototype"), pool, labels).family == "prototype"


def test_classes_of_one_example_take_no_part_in_the_choice() -> None:
    pool, labels = noisy(60, 10, 2, distance=1.5)
    version = adapters.fit(pool, labels, HeadSpec("lda"), fingerprint="f00d").head
    lone = [*labels[:-1], "only"]
    chosen = chosen_anew(version, HeadSpec("lda"), pool, lone)
    assert chosen.labels == version.labels
    assert chosen_anew(version, HeadSpec("lda"), pool[:3], ["a", "b", "c"]) is version


def test_choice_is_calibrated_without_each_example_s_group_as_a_training_is() -> None:
    random = np.random.default_rng(0)
    scenes = random.normal(size=(60, 40))
    coins = [f"class {coin}" for coin in random.integers(2, size=60)]
    rows = np.repeat(scenes, 4, axis=0) + random.normal(scale=0.7, size=(240, 40))
    labels = [coin for coin in coins for _ in range(4)]
    groups = [f"scene {row // 4}" for row in range(240)]
    spec = HeadSpec("ridge", l2=1.0)
    version = adapters.fit(scenes, coins, spec, fingerprint="f00d").head
    trained = adapters.fit(rows, labels, spec, fingerprint="f00d", groups=groups).head
    chosen = chosen_anew(version, spec, rows, labels, groups=groups)
    assert chosen.temperature == pytest.approx(trained.temperature)
    assert chosen.temperature > 2 * chosen_anew(version, spec, rows, labels).temperature
