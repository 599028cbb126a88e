"""What is advised on sets whose answer is known."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from adapters import InvalidExamples
from adapters.advice import DIRECT, EITHER, MAJORITY, NOTHING, TRANSFER, Advice, Advisor
from adapters.advice.comparison import OptionResult, Plan, compare, evaluate_option
from adapters.advice.direct_features import Pixels, Texts
from adapters.advice.options import Learner, LinearLearner, MajorityLearner, TextLearner
from adapters.estimate import estimate

Rows = NDArray[np.float32]
N = 160
LABELS = ["no", "yes"]


def noise(dim: int, seed: int, n: int = N) -> Rows:
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def telling(targets: Sequence[int], strength: float, seed: int) -> Rows:
    """Embeddings, one number of which follows the class."""
    rows = noise(16, seed, len(targets))
    rows[:, 0] += strength * (2 * np.asarray(targets) - 1)
    return rows


def blind_pixels(seed: int = 5, n: int = N) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, 36)).astype(np.uint8)


def telling_pixels(targets: Sequence[int], seed: int = 6) -> NDArray[np.uint8]:
    """Pictures of noise, one pixel of which is bright or dark."""
    pixels = blind_pixels(seed, len(targets))
    pixels[:, 17] = np.where(np.asarray(targets) == 1, 220, 30)
    return pixels


def words_of(targets: Sequence[int], seed: int = 7) -> list[str]:
    """Texts of random words, one of which tells the class."""
    rng = np.random.default_rng(seed)
    words = [f"word{number}" for number in range(30)]
    return [
        " ".join([*rng.choice(words, 6), ("blicket", "dax")[target], *rng.choice(words, 6)])
        for target in targets
    ]


TARGETS = (np.arange(N) % 2).tolist()
NAMES = [LABELS[target] for target in TARGETS]


def advise(raw: Pixels | Texts, labels: Sequence[str] = NAMES, **embeddings: Rows) -> Advice:
    advisor = Advisor(embeddings, raw, labels)
    for option in advisor.options:
        advisor.evaluate(option)
    return advisor.conclude()


def test_transfer_wins_where_only_embeddings_tell_the_class() -> None:
    advice = advise(Pixels(blind_pixels()), good=telling(TARGETS, 1.5, 1), bad=noise(16, 2))
    assert (advice.verdict, advice.recommended) == (TRANSFER, "good")
    assert advice.options[0].name == "good"
    accuracies = [option.estimate.accuracy for option in advice.options]
    assert accuracies == sorted(accuracies, reverse=True)
    assert "Transfer helps" in advice.summary
    assert any("LogME" in reason and "says the same" in reason for reason in advice.reasons)


def test_direct_training_wins_where_only_pixels_tell_the_class() -> None:
    advice = advise(Pixels(telling_pixels(TARGETS)), bad=noise(16, 2))
    assert (advice.verdict, advice.recommended) == (DIRECT, DIRECT)
    assert "Transfer does not help" in advice.summary
    assert "scaled pixels" in advice.summary


def test_how_far_the_best_head_is_behind_is_told_with_its_interval() -> None:
    advice = advise(Pixels(telling_pixels(TARGETS)), bad=noise(16, 2))
    lead = advice.head_lead
    accuracy = {option.name: option.estimate.accuracy for option in advice.options}
    assert lead.backbone == "bad"
    assert lead.gain == pytest.approx(accuracy["bad"] - accuracy[DIRECT], abs=0.02)
    assert -1 <= lead.low < lead.gain < lead.high < 0
    assert f"({100 * lead.low:+.1f} to {100 * lead.high:+.1f}, 95 %)" in advice.reasons[0]


def test_direct_training_wins_where_only_a_word_tells_the_class() -> None:
    advice = advise(Texts(words_of(TARGETS), 2), bad=noise(16, 2))
    assert (advice.verdict, advice.recommended) == (DIRECT, DIRECT)
    assert advice.options[0].estimate.accuracy > 0.95
    assert "TF-IDF" in advice.summary


def test_equal_options_make_no_clear_difference() -> None:
    pixels = telling_pixels(TARGETS)
    wrong = np.random.default_rng(3).permutation(N)[:16]
    pixels[wrong, 17] = 250 - pixels[wrong, 17]
    rows = telling([t ^ (i in wrong) for i, t in enumerate(TARGETS)], 5.0, 1)
    advice = advise(Pixels(pixels), good=rows)
    assert advice.verdict == EITHER
    assert advice.recommended in (DIRECT, "good")
    assert "no clear difference" in advice.summary


def test_labels_by_lot_are_nothing_to_learn_from() -> None:
    advice = advise(Pixels(blind_pixels()), bad=noise(16, 2))
    assert advice.verdict == NOTHING
    assert advice.labels_needed == ()
    assert not advice.fine_tuning
    assert "most frequent class" in advice.summary


def test_the_most_frequent_class_is_right_as_often_as_it_occurs() -> None:
    labels = LABELS * 14  # in no ten folds as often as one another
    advice = advise(Pixels(blind_pixels(n=28)), labels, bad=noise(16, 2, 28))
    (majority,) = (option for option in advice.options if option.name == MAJORITY)
    assert {point.accuracy for point in majority.learning_curve} == {0.5}
    assert majority.estimate.accuracy == 0.5


def test_few_examples_with_labels_by_lot_are_nothing_to_learn_from() -> None:
    verdicts = [
        advise(Pixels(blind_pixels(100 + seed, 12)), LABELS * 6, bad=noise(16, seed, 12)).verdict
        for seed in range(8)
    ]
    assert verdicts.count(NOTHING) >= 7


def test_the_order_of_examples_changes_no_more_than_luck() -> None:
    good = telling(TARGETS, 1.5, 1)
    order = np.random.default_rng(0).permutation(N)
    pixels = blind_pixels()
    one = advise(Pixels(pixels), good=good)
    other = advise(Pixels(pixels[order]), [NAMES[i] for i in order], good=good[order])
    assert one.recommended == other.recommended
    first, second = one.options[0].estimate, other.options[0].estimate
    assert first.accuracy == pytest.approx(second.accuracy, abs=0.05)


def test_the_same_examples_and_seed_give_the_same_advice() -> None:
    def once() -> Advice:
        return advise(Texts(words_of(TARGETS), 2), good=telling(TARGETS, 0.8, 1))

    assert once() == once()


def test_an_advice_is_json_and_says_how_it_was_evaluated() -> None:
    advice = advise(Pixels(blind_pixels()), good=telling(TARGETS, 1.0, 1))
    document = json.loads(json.dumps(advice.to_json()))
    assert document["example_count"] == N
    assert [row["label"] for row in document["classes"]] == LABELS
    by_name = {row["name"]: row for row in document["options"]}
    assert set(by_name) == {MAJORITY, DIRECT, "good"}
    assert {row["estimate"]["method"] for row in document["options"]} == {
        "10-fold cross-validation"
    }
    assert by_name["good"]["geometry"]["effective_rank"] > 1
    assert by_name[DIRECT]["geometry"] is None
    curve = by_name["good"]["learning_curve"]
    assert [row["examples"] for row in curve] == [10, 20, 40, 80, 144]
    assert curve[-1]["accuracy"] == by_name["good"]["estimate"]["accuracy"]


def test_copies_do_not_make_direct_training_look_good() -> None:
    """Each picture is there three times, with a label drawn by lot."""
    originals = np.random.default_rng(9).integers(0, 2, 60)
    targets = np.repeat(originals, 3)
    names = [LABELS[target] for target in targets]
    pixels, rows = np.repeat(blind_pixels(n=60), 3, axis=0), np.repeat(noise(16, 2, 60), 3, axis=0)
    advice = advise(Pixels(pixels), names, bad=rows)
    assert advice.verdict == NOTHING
    assert advice.near_duplicate_count == 180
    assert any("kept together" in reason for reason in advice.reasons)
    assert max(option.estimate.accuracy for option in advice.options) < 0.7


def test_fine_tuning_needs_examples_and_room() -> None:
    few = advise(Pixels(blind_pixels()), good=telling(TARGETS, 1.0, 1))
    assert not few.fine_tuning
    assert "Too few examples" in few.fine_tuning_reason
    targets = (np.arange(400) % 2).tolist()
    names = [LABELS[target] for target in targets]
    sure = telling(targets, 8.0, 1)
    done = advise(Pixels(blind_pixels(n=400)), names, good=sure)
    assert not done.fine_tuning
    assert "little is left" in done.fine_tuning_reason
    narrow = telling(targets, 1.0, 1) + 20
    alike = advise(Pixels(blind_pixels(n=400)), names, good=narrow)
    assert alike.fine_tuning
    assert "look much alike" in alike.fine_tuning_reason


def test_the_test_is_mcnemars_with_edwards_correction() -> None:
    def result(right: Sequence[bool]) -> OptionResult:
        logits, targets = np.zeros((len(right), 2)), np.zeros(len(right), np.intp)
        guess = estimate(logits, targets, 1.0, "by hand")
        return OptionResult("one", np.array(right), guess, ())

    first = result([True] * 12 + [False] * 3 + [True] * 5)
    second = result([False] * 12 + [True] * 3 + [True] * 5)
    found = compare(first, second, np.arange(20))
    assert (found.only_first, found.only_second, found.gain) == (12, 3, 9 / 20)
    assert found.z == pytest.approx((12 - 3 - 1) / np.sqrt(15))
    assert found.clear
    assert compare(second, first, np.arange(20)).z == pytest.approx(-found.z)
    # Twelve near-duplicates count as one.
    together = compare(first, second, np.array([0] * 12 + list(range(1, 9))))
    assert not together.clear
    assert compare(first, first, np.arange(20)).z == 0


def test_learners_recognise_new_inputs() -> None:
    targets = np.array(TARGETS)
    fresh = np.array([1, 0, 0, 1, 1])
    linear = LinearLearner(telling(TARGETS, 6.0, 1), targets, "auto", 0)
    assert linear.predict(telling(fresh.tolist(), 6.0, 3)).tolist() == fresh.tolist()
    folds = np.arange(N) // 2 % 10
    texts = TextLearner(Texts(words_of(TARGETS), 2), targets, folds, np.arange(N), 0)
    assert texts.predict(words_of(fresh.tolist(), 11)).tolist() == fresh.tolist()
    assert MajorityLearner(np.array([0, 1, 1])).predict([None] * 2).tolist() == [1, 1]


def test_estimates_of_options_say_how_lucky_their_choices_were() -> None:
    targets, groups = np.arange(60) % 2, np.arange(60)
    told: dict[str, float] = {"linear": 0.0, "texts": 0.0, "majority": 0.0}
    for seed in range(8):
        rng = np.random.default_rng(seed)
        plan = Plan.of(targets, groups, seed)
        words = [" ".join(f"w{one}" for one in rng.integers(0, 40, 8)) for _ in targets]
        learners: dict[str, Learner] = {
            "linear": LinearLearner(noise(64, seed, 60), targets, "ridge", seed, groups),
            "texts": TextLearner(Texts(words, 2), targets, plan.folds, groups, seed),
            "majority": MajorityLearner(targets),
        }
        for name, learner in learners.items():
            told[name] += evaluate_option(name, learner, plan).estimate.optimism
    assert told["linear"] > 0
    assert told["texts"] > 0
    assert told["majority"] == 0


def test_parts_without_a_class_are_learned_from_all_the_same() -> None:
    targets = np.array(TARGETS)
    part = np.zeros(N, bool)
    part[[0, 2, 4]] = True
    linear = LinearLearner(telling(TARGETS, 1.0, 1), targets, "logistic", 0)
    texts = TextLearner(
        Texts(words_of(TARGETS), 2), targets, np.arange(N) // 2 % 10, np.arange(N), 0
    )
    for learner in (linear, texts, MajorityLearner(targets)):
        assert learner.predict_others(part).tolist() == [0] * (N - 3)


def test_three_classes_of_texts() -> None:
    targets = np.arange(90) % 3
    rng = np.random.default_rng(0)
    texts = [f"{('red', 'green', 'blue')[t]} {rng.integers(100)}" for t in targets]
    advice = advise(Texts(texts, 3), [f"c{t}" for t in targets], bad=noise(8, 2, 90))
    assert advice.recommended == DIRECT
    assert advice.options[0].estimate.accuracy == 1


def test_texts_of_nothing_are_learned_from_in_vain() -> None:
    advice = advise(Texts([" "] * N, 2), good=telling(TARGETS, 2.0, 1))
    assert advice.verdict == TRANSFER


@pytest.mark.parametrize(
    ("labels", "field"),
    [
        (["a"] * N, "labels"),
        (["a"] * (N - 1) + ["b"], "labels[b]"),
        (["a", "b"], "labels"),
    ],
)
def test_too_little_to_learn_from_is_refused(labels: list[str], field: str) -> None:
    with pytest.raises(InvalidExamples) as refused:
        advise(Pixels(blind_pixels()), labels, good=noise(16, 2))
    assert refused.value.field == field


def test_the_smallest_set_that_is_enough() -> None:
    names = ["a", "a", "b", "b"]
    advice = advise(Pixels(blind_pixels(n=4)), names, good=telling([0, 0, 1, 1], 9.0, 1))
    assert advice.verdict == NOTHING
    assert advice.example_count == 4


def test_where_all_do_the_same_the_most_frequent_class_is_recommended() -> None:
    names = ["a"] * 37 + ["b"] * 3
    blind = np.ones((40, 8), np.float32)
    advice = advise(Pixels(np.full((40, 36), 7, np.uint8)), names, bad=blind)
    assert (advice.verdict, advice.recommended) == (NOTHING, MAJORITY)
    assert "Nothing is better than" in advice.summary


def test_many_classes_of_two_examples_each() -> None:
    names = [f"class {number % 20}" for number in range(40)]
    texts = Texts([f"word{number % 20} {number}" for number in range(40)], 20)
    advice = advise(texts, names, bad=noise(8, 2, 40))
    assert len(advice.classes) == 20
