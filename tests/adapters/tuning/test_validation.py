"""When a tail is good enough to be used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.special import log_softmax

import adapters
from adapters.estimate import ValidationResult
from adapters.examples import Examples
from adapters.folds import stratified_folds
from adapters.tuning.validation import Gain, Validator
from tests.adapters.data import blobs

FOLDS = 5


@pytest.fixture(scope="module")
def compared() -> tuple[Gain, np.ndarray]:
    """What features gain that are better than guesses, and the right classes."""
    embeddings, labels = blobs(60, 6, 3)
    examples = Examples.of(embeddings, labels)
    folds = stratified_folds(examples.targets, FOLDS, 0)
    validator = Validator(
        "ridge", examples, examples.weights, folds, adapters.HeadSpec(family="ridge")
    )
    guesses = np.random.default_rng(0).normal(size=(60, 3))
    without = ValidationResult.of(guesses, examples.targets, FOLDS)
    features = [examples.embeddings.astype(np.float32)] * FOLDS
    return validator.compare(without, features), examples.targets


def test_error_is_that_of_the_examples_paired_differences(
    compared: tuple[Gain, np.ndarray],
) -> None:
    gain, targets = compared
    ours, theirs = (
        -log_softmax(result.logits / result.temperature, axis=1)[np.arange(60), targets]
        for result in (gain.result, gain.without)
    )
    assert gain.error == pytest.approx(np.std(ours - theirs, ddof=1) / np.sqrt(60), rel=1e-9)
    assert gain.used


def test_tail_that_is_better_by_one_error_is_not_used(compared: tuple[Gain, np.ndarray]) -> None:
    gain, _ = compared
    found = gain.without.estimate.log_loss - gain.result.estimate.log_loss
    for errors, used in ((1.0, False), (1.6, False), (1.7, True)):
        uncertain = replace(gain, error=found / errors)
        assert uncertain.used is used
        assert ("may be chance" in uncertain.reason) is not used
