"""Fine-tuning: what it gains, when it is refused, and what it must not touch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch

import adapters
from adapters.tuning import Tuned, TuningProgress
from tests.adapters.tuning.tiny_tails import (
    Exponential,
    Kept,
    Stored,
    Tail,
    attention,
    convolutions,
    fitted,
    spec,
    textures,
    tuned,
)

pytestmark = pytest.mark.tuning


class StopError(Exception):
    """A caller has had enough."""


def accuracy(head: adapters.Head, tail: Tail, seed: int) -> float:
    """Of a head on a tail, on fresh examples."""
    activations, labels = textures(100, seed=seed)
    return adapters.evaluate(head, tail.embed(activations), labels).estimate.accuracy


@pytest.fixture(scope="module")
def textile() -> Tuned:
    """What tuning two convolutions on eighty textures led to."""
    return tuned(convolutions(), *textures(80), spec(), base_seconds=3.0)


def test_it_learns_what_frozen_features_cannot_tell(textile: Tuned) -> None:
    tail, found = convolutions(), textile
    activations, _ = textures(80)
    assert found.tail is not None
    report = found.fitted.report.fine_tuning
    assert report is not None
    assert report.used
    assert report.without_tail.accuracy < 0.85
    assert report.with_tail.accuracy > 0.9
    assert report.with_tail.method == report.without_tail.method == "5-fold cross-validation"
    changed = tail.with_tensors(found.tail.tensors)
    np.testing.assert_allclose(changed.embed(activations), found.tail.features, atol=1e-5)
    assert accuracy(found.fitted.head, changed, seed=5) > 0.9
    assert found.fitted.head.fingerprint == found.tail.fingerprint == "tuned"


def test_the_report_shows_both_sides_and_survives_json(textile: Tuned) -> None:
    found, report = textile, textile.fitted.report
    assert found.tail is not None
    assert report.fine_tuning is not None
    assert report.estimate == report.fine_tuning.with_tail
    assert report.evaluation is not None
    assert report.fine_tuning.blocks == ("blocks.0", "blocks.1")
    assert report.fine_tuning.epochs <= len(report.fine_tuning.curve) <= 8
    assert report.fine_tuning.seconds_without == 3.0
    assert report.fine_tuning.seconds_with > 3.0
    head = found.fitted.head.to_safetensors()
    assert report.fine_tuning.bytes_with == found.tail.nbytes + len(head)
    assert adapters.Report.from_json(json.loads(json.dumps(report.to_json()))) == report


def test_labels_at_random_leave_the_plain_head() -> None:
    """The tail can learn them by heart: what it has not seen must decide."""
    activations, _ = textures(60)
    labels = np.random.default_rng(3).permutation(["a", "b"] * 30).tolist()
    tail, settings = convolutions(), spec(max_epochs=6, learning_rate=0.03)
    _, base = fitted(tail, activations, labels, settings)
    found = tuned(tail, activations, labels, settings)
    report = found.fitted.report.fine_tuning
    assert report is not None
    assert found.tail is None
    assert not report.used
    assert "without" in report.reason
    np.testing.assert_array_equal(found.fitted.head.weight, base.head.weight)
    assert found.fitted.report.estimate == base.report.estimate
    assert report.with_tail.log_loss > 0.6


def test_no_example_is_scored_by_a_tail_that_has_seen_it() -> None:
    """Every example has a twin of the same label by lot: a tail that saw one knows the other."""
    activations, _ = textures(30)
    rows, none = np.arange(30), np.zeros(30, dtype=np.intp)
    states = activations.rows(rows, none)[0]
    twins = np.concatenate([states, states])[None]
    labels = np.random.default_rng(0).permutation(["a", "b"] * 15).tolist() * 2
    found = tuned(convolutions(), Stored(twins), labels, spec(max_epochs=6))
    report = found.fitted.report.fine_tuning
    assert report is not None
    assert report.with_tail.accuracy < 0.75
    assert report.with_tail.groups == 30
    assert found.tail is None


@pytest.mark.parametrize("family", ["logistic", "lda", "prototype"])
def test_every_family_stands_on_a_tail(family: str) -> None:
    tail = convolutions()
    activations, labels = textures(60)
    found = tuned(tail, activations, labels, spec(family=family))
    assert found.tail is not None
    assert found.fitted.head.family == family
    assert accuracy(found.fitted.head, tail.with_tensors(found.tail.tensors), seed=5) > 0.8


def test_what_is_calibrated_comes_from_tails_that_had_not_seen_it(textile: Tuned) -> None:
    _, labels = textures(80)
    found = textile
    head, held_out = found.fitted.head, found.fitted.held_out
    assert held_out is not None
    assert head.conformal is not None
    report = found.fitted.report.fine_tuning
    assert report is not None
    right = held_out.argmax(axis=1) == head.class_indices(labels)
    assert float(right.mean()) == report.with_tail.accuracy
    targets = head.class_indices(labels)
    assert head.temperature == pytest.approx(adapters.fit_temperature(held_out, targets), rel=1e-3)
    covered = head.conformal.sets(held_out, 0.9)[np.arange(len(labels)), targets]
    assert covered.mean() == pytest.approx(0.9, abs=0.05)


def test_only_the_last_block_is_touched_if_that_is_asked_for() -> None:
    tail = convolutions()
    before = tail.tensors()
    activations, labels = textures(60)
    found = tuned(tail, activations, labels, spec("last_block"))
    assert found.tail is not None
    assert sorted(found.tail.tensors) == [
        "blocks.1.0.weight",
        "blocks.1.1.bias",
        "blocks.1.1.weight",
    ]
    for name, values in tail.tensors().items():
        np.testing.assert_array_equal(values, before[name])


def test_statistics_of_batch_normalisation_are_never_changed(textile: Tuned) -> None:
    assert textile.tail is not None
    assert {name.rpartition(".")[2] for name in textile.tail.tensors} == {"weight", "bias"}


def test_gradual_unfreezing_goes_towards_the_cut_while_it_helps() -> None:
    activations, labels = textures(60)
    found = tuned(convolutions(), activations, labels, spec("gradual", max_epochs=8))
    report = found.fitted.report.fine_tuning
    assert report is not None
    assert report.blocks in (("blocks.1",), ("blocks.0", "blocks.1"))
    assert ("blocks.0" in report.blocks) == (report.epochs > 4)


def test_a_whole_network_is_tuned_from_its_own_inputs() -> None:
    tail = convolutions(stem=True)
    noise, labels = textures(60)
    rows = np.arange(60)
    pixels = (noise.rows(rows, rows * 0)[0] * 32 + 128).clip(0, 255).astype(np.uint8)
    activations = Stored(pixels[None])
    found = tuned(tail, activations, labels, spec("full"))
    report = found.fitted.report.fine_tuning
    assert report is not None
    assert report.blocks == ("stem", "blocks.0", "blocks.1")
    assert found.tail is not None
    assert not np.array_equal(found.tail.tensors["stem.weight"], tail.tensors()["stem.weight"])


def test_texts_are_tuned_without_looking_at_padding() -> None:
    random = np.random.default_rng(0)
    lengths = random.integers(2, 9, size=60)
    states = random.normal(size=(1, 60, 8, 8)).astype(np.float16)
    labels = [f"class {i % 2}" for i in range(60)]
    for row, length in enumerate(lengths):  # the order of two tokens' signs, whatever they are
        states[0, row, :length, 0] = np.abs(states[0, row, :length, 0]) + 1
        states[0, row, 0, 0] *= -1
        states[0, row, 0, 1] = 2 if row % 2 else -2
        states[0, row, 1:length, 1] = -states[0, row, 0, 1] / (length - 1)
    found = tuned(attention(), Stored(states, lengths), labels, spec(max_epochs=3))
    states[0, np.arange(8) >= lengths[:, None]] = 100.0  # padding
    again = tuned(attention(), Stored(states, lengths), labels, spec(max_epochs=3))
    report, other = found.fitted.report.fine_tuning, again.fitted.report.fine_tuning
    assert report is not None
    assert other is not None
    assert [e.validation_loss for e in other.curve] == pytest.approx(
        [e.validation_loss for e in report.curve], rel=1e-3
    )


def test_views_are_drawn_in_training_and_never_scored() -> None:
    activations, labels = textures(40, views=2)
    tuned(convolutions(), activations, labels, spec(max_epochs=3))
    drawn = np.bincount([view for _, view in activations.asked], minlength=3)
    assert drawn[1] == pytest.approx(drawn[2], rel=0.3)
    assert drawn[0] > drawn[1]  # the examples themselves are drawn, and scored besides


def test_class_weights_are_honoured() -> None:
    activations, _ = textures(60)
    labels = ["rare" if i % 6 == 0 else "common" for i in range(60)]

    def recall(weights: dict[str, float]) -> float:
        settings = spec(class_weights=weights, max_epochs=3, learning_rate=1e-3)
        found = tuned(convolutions(), activations, labels, settings)
        report = found.fitted.report.fine_tuning
        assert report is not None
        return report.curve[-1].validation_accuracy

    assert recall({"rare": 50.0}) < recall({})


def test_progress_is_reported_and_what_it_raises_ends_the_tuning() -> None:
    activations, labels = textures(40)
    shares: list[float] = []
    reported: list[TuningProgress] = []

    def progress(share: float, phase: str, details: Mapping[str, Any] | None = None) -> None:
        assert phase == "fine-tuning"
        assert details is not None
        shares.append(share)
        reported.append(TuningProgress(**details))
        if len(reported) == 7:
            raise StopError

    with pytest.raises(StopError):
        tuned(convolutions(), activations, labels, spec(), progress=progress)
    places = [(one.fold, one.epoch) for one in reported]
    assert places == [*((fold, 1) for fold in range(1, 6)), (1, 2), (2, 2)]
    assert shares == [one.done for one in reported]
    assert shares == sorted(shares)
    assert all(one.remaining_seconds > 0 for one in reported)
    assert all(one.validation_accuracy is not None for one in reported)


def test_share_done_grows_by_equal_steps_to_the_whole() -> None:
    folds, epochs = 2, 3
    turns = [(fold, epoch) for epoch in (1, 2, 3) for fold in (1, 2)]
    shares = [
        TuningProgress(fold, folds, epoch, epochs, 0.0, None, None, 0.0, "none", passes, 9).done
        for passes, (fold, epoch) in enumerate([*turns, (0, 1), (0, 2), (0, 3)], 1)
    ]
    assert shares == pytest.approx([step / 9 for step in range(1, 10)])


@pytest.mark.parametrize("stop_after", [1, 7, 22])
def test_going_on_from_a_checkpoint_gives_what_it_would_have_given(stop_after: int) -> None:
    activations, labels = textures(40)
    settings = spec("gradual", max_epochs=4)
    straight = tuned(convolutions(), activations, labels, settings)
    kept = Kept()
    reported: list[tuple[int, int]] = []

    def progress(share: float, phase: str, details: Mapping[str, Any] | None = None) -> None:
        assert details is not None
        reported.append((details["fold"], details["epoch"]))
        if len(reported) == stop_after:
            raise StopError

    with pytest.raises(StopError):
        tuned(convolutions(), activations, labels, settings, progress=progress, checkpoints=kept)
    again = tuned(
        convolutions(), activations, labels, settings, progress=progress, checkpoints=kept
    )
    assert straight.tail is not None
    assert again.tail is not None
    for name, values in straight.tail.tensors.items():
        np.testing.assert_array_equal(again.tail.tensors[name], values)
    np.testing.assert_array_equal(again.tail.features, straight.tail.features)
    np.testing.assert_array_equal(again.fitted.head.weight, straight.fitted.head.weight)
    assert len(set(reported)) == len(reported)  # nothing was done twice
    report = again.fitted.report.fine_tuning
    assert report is not None
    assert report.seconds_with > len(reported)


def test_a_checkpoint_of_other_examples_is_left_alone() -> None:
    activations, labels = textures(40)
    settings = spec(max_epochs=2)
    kept = Kept()
    tuned(convolutions(), activations, labels, settings, checkpoints=kept)
    others = [*labels[1:], labels[0]]
    fresh = tuned(convolutions(), activations, others, settings)
    found = tuned(convolutions(), activations, others, settings, checkpoints=kept)
    mine, theirs = found.fitted.report.fine_tuning, fresh.fitted.report.fine_tuning
    assert mine is not None
    assert theirs is not None
    assert mine.curve == theirs.curve


def test_the_order_of_examples_does_not_matter_and_nothing_leaks() -> None:
    activations, labels = textures(40)
    settings = spec(max_epochs=6)
    threads, state = torch.get_num_threads(), torch.get_rng_state()
    one = tuned(convolutions(), activations, labels, settings, threads=1)
    assert torch.get_num_threads() == threads
    assert torch.equal(torch.get_rng_state(), state)
    order = np.random.default_rng(1).permutation(40)
    states = activations.rows(order, order * 0)[0][None]
    other = tuned(convolutions(), Stored(states), [labels[i] for i in order], settings, threads=1)
    assert one.tail is not None
    assert other.tail is not None
    for name, values in one.tail.tensors.items():
        np.testing.assert_array_equal(other.tail.tensors[name], values)
    np.testing.assert_allclose(other.tail.features, one.tail.features[order], atol=1e-6)


def test_novelty_is_decided_by_distances_of_examples_that_tails_had_not_seen() -> None:
    activations, labels = textures(120)
    novelty = adapters.NoveltySpec(false_alarm_rate=0.1)
    settings = adapters.HeadSpec(family="ridge", novelty=novelty, fine_tune=spec().fine_tune)
    tail = convolutions()
    found = tuned(tail, activations, labels, settings)
    head = found.fitted.head
    assert found.tail is not None
    assert head.novelty is not None
    changed = tail.with_tensors(found.tail.tensors)
    fresh = changed.embed(textures(200, seed=9)[0])
    assert (head.novelty.scores(fresh) > 1).mean() < 0.25


def refusal(
    labels: list[str], settings: adapters.HeadSpec, **more: Any
) -> adapters.InvalidArgument:
    activations, others = textures(20)
    tail = convolutions()
    embeddings, base = fitted(tail, activations, others, spec())
    from adapters.tuning import tune

    with pytest.raises(adapters.InvalidArgument) as raised:
        tune(
            tail,
            more.get("activations", activations),
            labels,
            settings,
            base=base,
            embeddings=embeddings,
            name=lambda tensors: "tuned",
            clock=lambda: 0.0,
        )
    return raised.value


def test_fewer_than_two_classes_with_two_examples_are_refused() -> None:
    found = refusal([*["a"] * 19, "c"], spec())
    assert isinstance(found, adapters.InvalidExamples)
    assert (found.field, found.limit, found.value) == ("examples", 2, 1)


def test_too_few_activations_are_refused() -> None:
    found = refusal(["a", "b"] * 10, spec(), activations=textures(19)[0])
    assert (found.field, found.limit, found.value) == ("activations", 20, 19)


def test_tuning_nothing_is_refused() -> None:
    found = refusal(["a", "b"] * 10, adapters.HeadSpec())
    assert (found.field, found.value) == ("fine_tune.strategy", "none")


def test_a_rate_at_which_numbers_overflow_is_named() -> None:
    activations, labels = textures(40)
    tail = convolutions(activation=Exponential())
    with pytest.raises(adapters.InvalidSpec) as raised:
        tuned(tail, activations, labels, spec(learning_rate=0.1, max_epochs=20))
    assert raised.value.field == "fine_tune.learning_rate"
