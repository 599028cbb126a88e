"""What holds for every family of heads, those to come included."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

import adapters
from adapters import Fitted, Head, HeadSpec
from adapters.calibration import MAX_TEMPERATURE, MIN_TEMPERATURE
from adapters.families import REGISTRY
from adapters.families.prototype import DEFAULT_TEMPERATURE
from adapters.spec import FRONTS
from tests.adapters.data import Embeddings, blobs, noisy

SHAPES = {"n < dim": (24, 40, 3), "n > dim": (60, 8, 3), "binary": (30, 12, 2)}

FAMILIES_AND_AUTO = (*REGISTRY, "auto")

families = pytest.mark.parametrize("family", FAMILIES_AND_AUTO)
shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


def learn(family: str, embeddings: Embeddings, labels: list[str], seed: int = 0) -> Fitted:
    return adapters.fit(embeddings, labels, HeadSpec(family, seed=seed), fingerprint="f00d")


def state(head: Head) -> tuple[bytes, bytes, tuple[str, ...], float, float | None]:
    return head.weight.tobytes(), head.bias.tobytes(), head.labels, head.temperature, head.l2


def test_every_family_can_be_asked_for() -> None:
    assert set(adapters.FAMILIES) == set(REGISTRY)
    assert all(REGISTRY[name].name == name for name in REGISTRY)


@families
@shapes
def test_saved_and_loaded_head_predicts_the_same_bits(
    family: str, shape: tuple[int, int, int]
) -> None:
    embeddings, labels = blobs(*shape)
    head = learn(family, embeddings, labels).head
    copy = Head.from_safetensors(head.to_safetensors())
    assert state(copy) == state(head)
    assert (copy.family, copy.fingerprint) == (head.family, "f00d")
    expected = head.probabilities(embeddings)
    assert copy.probabilities(embeddings).tobytes() == expected.tobytes()


@families
@shapes
def test_same_examples_spec_and_seed_give_the_same_bits(
    family: str, shape: tuple[int, int, int]
) -> None:
    embeddings, labels = blobs(*shape)
    one, other = (learn(family, embeddings, labels, seed=7) for _ in range(2))
    assert state(one.head) == state(other.head)
    assert one.report == other.report


@families
@shapes
def test_order_of_examples_does_not_matter(family: str, shape: tuple[int, int, int]) -> None:
    embeddings, labels = blobs(*shape)
    order = np.random.default_rng(3).permutation(len(labels))
    one = learn(family, embeddings, labels)
    other = learn(family, embeddings[order], [labels[i] for i in order])
    np.testing.assert_allclose(other.head.weight, one.head.weight, rtol=1e-5, atol=1e-7)
    assert other.report.estimate == one.report.estimate


@families
@shapes
def test_renaming_labels_permutes_the_head(family: str, shape: tuple[int, int, int]) -> None:
    embeddings, labels = blobs(*shape)
    names = sorted(set(labels))
    renamed = dict(zip(names, [f"z{len(names) - i}" for i in range(len(names))], strict=True))
    one = learn(family, embeddings, labels)
    other = learn(family, embeddings, [renamed[label] for label in labels])
    rows = other.head.class_indices([renamed[name] for name in one.head.labels])
    np.testing.assert_allclose(
        other.head.probabilities(embeddings)[:, rows],
        one.head.probabilities(embeddings),
        atol=2e-4,
    )


@families
def test_labels_are_sorted_and_counted(family: str) -> None:
    embeddings, _ = blobs(20, 6, 3)
    labels = ["b", "a", "Z", "ä", "b"] * 4
    fitted = learn(family, embeddings, labels)
    assert fitted.head.labels == ("Z", "a", "b", "ä")
    assert [(c.label, c.examples) for c in fitted.report.classes] == [
        ("Z", 4),
        ("a", 4),
        ("b", 8),
        ("ä", 4),
    ]
    assert fitted.report.example_count == 20


@families
def test_predicting_changes_neither_head_nor_input(family: str) -> None:
    embeddings, labels = blobs(30, 10, 3)
    head = learn(family, embeddings, labels).head
    before, rows = state(head), embeddings.copy()
    first = head.probabilities(embeddings)
    second = head.probabilities(embeddings)
    assert state(head) == before
    assert embeddings.tobytes() == rows.tobytes()
    assert first.tobytes() == second.tobytes()


@families
def test_learning_changes_neither_examples_nor_another_head(family: str) -> None:
    embeddings, labels = blobs(30, 10, 3)
    rows, names = embeddings.copy(), list(labels)
    head = learn(family, embeddings, labels).head
    before = state(head)
    learn(family, 2 * embeddings[::-1], labels, seed=1)
    assert state(head) == before
    assert embeddings.tobytes() == rows.tobytes()
    assert labels == names


@families
def test_arrays_of_a_head_cannot_be_written(family: str) -> None:
    embeddings, labels = blobs(30, 10, 3)
    head = learn(family, embeddings, labels).head
    for array in (head.weight, head.bias):
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0.0


@families
def test_unseen_label_is_a_clear_error(family: str) -> None:
    embeddings, labels = blobs(30, 10, 3)
    head = learn(family, embeddings, labels).head
    with pytest.raises(adapters.UnknownLabel, match="'llama'") as caught:
        adapters.evaluate(head, embeddings[:2], [labels[0], "llama"])
    assert (caught.value.field, caught.value.value) == ("label", "llama")


@families
@pytest.mark.parametrize("size", [0.0, 1e-30, 1e6, 3e38])
def test_probabilities_are_finite_and_sum_to_one(family: str, size: float) -> None:
    embeddings, labels = blobs(30, 10, 3)
    head = learn(family, embeddings, labels).head
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(50, 10))
    extreme: NDArray[np.float32] = (size * signs).astype(np.float32)
    probabilities = head.probabilities(extreme)
    assert probabilities.dtype == np.float32
    assert np.isfinite(probabilities).all()
    assert (probabilities >= 0).all()
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0, atol=1e-5)


@families
def test_a_row_is_scored_alike_alone_and_in_company(family: str) -> None:
    embeddings, labels = blobs(64, 40, 3)
    head = learn(family, embeddings, labels).head
    together = head.probabilities(embeddings)
    alone = np.concatenate([head.probabilities(row[None]) for row in embeddings])
    np.testing.assert_allclose(alone, together, atol=1e-7)


@families
def test_two_examples_of_each_class_are_enough(family: str) -> None:
    embeddings, labels = blobs(6, 20, 3, distance=20.0)
    fitted = learn(family, embeddings, labels)
    assert adapters.evaluate(fitted.head, embeddings, labels).estimate.accuracy == 1.0
    assert fitted.report.estimate is not None
    assert 0 <= fitted.report.estimate.accuracy_low <= fitted.report.estimate.accuracy_high <= 1


@families
@pytest.mark.parametrize("n", [10, 20, 60])
@pytest.mark.parametrize("shape", [(8, 2, 1e4), (40, 2, 20.0), (40, 5, 50.0)], ids=str)
def test_a_set_without_a_mistake_claims_no_certainty(
    family: str, n: int, shape: tuple[int, int, float]
) -> None:
    """Not even where classes are ten thousand times as far apart as they are wide."""
    dim, classes, distance = shape
    embeddings, labels = blobs(n + 20, dim, classes, distance=distance)
    fitted = learn(family, embeddings[:n], labels[:n])
    assert fitted.report.estimate is not None
    assert fitted.held_out is not None
    assert fitted.report.estimate.accuracy == 1.0
    assert fitted.report.estimate.log_loss > 1e-4
    spread = (fitted.held_out - fitted.held_out.max(axis=1, keepdims=True)).std()
    inside = fitted.head.temperature / spread
    assert 2 * MIN_TEMPERATURE < inside < MAX_TEMPERATURE / 2
    assert fitted.head.probabilities(embeddings[n:]).max() < 1 - 1e-6


@families
def test_a_rare_class_is_learned_beside_a_common_one(family: str) -> None:
    common, _ = blobs(60, 12, 2)
    rare = common[:2] + 30 * common.std()
    embeddings = np.concatenate([common, rare])
    head = learn(family, embeddings, ["common"] * 60 + ["rare"] * 2).head
    assert head.probabilities(rare).argmax(axis=1).tolist() == [1, 1]


@pytest.mark.parametrize("family", [name for name in FAMILIES_AND_AUTO if name != "prototype"])
def test_embeddings_that_are_all_alike_give_the_shares_of_the_classes(family: str) -> None:
    fitted = learn(family, np.ones((40, 5), np.float32), ["no"] * 10 + ["yes"] * 30)
    probabilities = fitted.head.probabilities(np.ones((1, 5), np.float32))[0]
    assert fitted.head.labels[int(probabilities.argmax())] == "yes"
    np.testing.assert_allclose(probabilities, [0.25, 0.75], atol=0.03)


@families
def test_features_that_never_vary_do_no_harm(family: str) -> None:
    embeddings, labels = blobs(60, 8, 3)
    padded = np.hstack([embeddings, np.full((60, 3), 7.0, np.float32)])
    head = learn(family, padded, labels).head
    assert adapters.evaluate(head, padded, labels).estimate.accuracy > 0.5
    assert not head.weight[:, 8:].any()


@families
def test_hundreds_of_classes_are_learned(family: str) -> None:
    count = 500 if family in ("ridge", "prototype") else 200
    embeddings, labels = blobs(3 * count, 64, count, distance=16.0)
    fitted = learn(family, embeddings, labels)
    assert len(fitted.head.labels) == count
    assert fitted.head.labels == tuple(sorted(fitted.head.labels))
    fresh = (embeddings + np.roll(embeddings, count, axis=0)) / 2
    assert adapters.evaluate(fitted.head, fresh, labels).estimate.accuracy > 0.95
    assert fitted.report.estimate is not None
    assert fitted.report.estimate.accuracy > 0.9


@families
def test_progress_rises_to_one(family: str) -> None:
    embeddings, labels = blobs(30, 10, 3)
    reported: list[tuple[float, str]] = []
    adapters.fit(
        embeddings,
        labels,
        HeadSpec(family),
        fingerprint="f00d",
        progress=lambda share, phase, details=None: reported.append((share, phase)),
    )
    shares = [share for share, _ in reported]
    assert shares == sorted(shares)
    assert (shares[0], shares[-1]) == (0.0, 1.0)
    assert all(phase for _, phase in reported)


@families
@shapes
def test_held_out_logits_are_in_the_order_of_the_caller(
    family: str, shape: tuple[int, int, int]
) -> None:
    embeddings, labels = blobs(*shape)
    order = np.random.default_rng(3).permutation(len(labels))
    fitted = learn(family, embeddings, labels)
    other = learn(family, embeddings[order], [labels[i] for i in order])
    assert fitted.held_out is not None
    assert other.held_out is not None
    np.testing.assert_allclose(other.held_out, fitted.held_out[order], rtol=1e-3, atol=1e-3)
    targets = fitted.head.class_indices(labels)
    right = np.mean(fitted.held_out.argmax(axis=1) == targets)
    assert fitted.report.estimate is not None
    assert fitted.report.estimate.accuracy == pytest.approx(right)


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("family", REGISTRY)
def test_every_family_learns_behind_every_front(family: str, front: str) -> None:
    embeddings, labels = blobs(60, 10, 3, distance=8.0)
    fitted = adapters.fit(
        embeddings, labels, HeadSpec(family, front=front, seed=5), fingerprint="f00d"
    )
    fresh = (embeddings + np.roll(embeddings, 3, axis=0)) / 2
    assert adapters.evaluate(fitted.head, fresh, labels).estimate.accuracy > 0.9
    copy = Head.from_safetensors(fitted.head.to_safetensors())
    assert copy.logits(fresh).tobytes() == fitted.head.logits(fresh).tobytes()


@pytest.mark.parametrize("family", REGISTRY)
@pytest.mark.parametrize("shape", [(20, 30, 2), (40, 8, 3)], ids=str)
def test_an_example_of_weight_two_counts_like_two(family: str, shape: tuple[int, int, int]) -> None:
    embeddings, labels = blobs(*shape)
    twice = np.arange(len(labels)) % 3 == 0
    spec = HeadSpec(family, l2=2.0)
    weighted = adapters.fit(
        embeddings, labels, spec, fingerprint="f00d", weights=np.where(twice, 2.0, 1.0)
    )
    repeated = adapters.fit(
        np.concatenate([embeddings, embeddings[twice]]),
        labels + [label for label, again in zip(labels, twice, strict=True) if again],
        spec,
        fingerprint="f00d",
    )
    size = np.abs(repeated.head.weight).max()
    tolerance = 1e-3 if family == "logistic" else 1e-5
    np.testing.assert_allclose(
        weighted.head.weight, repeated.head.weight, rtol=0, atol=tolerance * size
    )
    unweighted = adapters.fit(embeddings, labels, spec, fingerprint="f00d")
    assert np.abs(unweighted.head.weight - weighted.head.weight).max() > 5 * tolerance * size


@pytest.mark.parametrize("family", REGISTRY)
def test_balanced_classes_weigh_the_same_in_sum(family: str) -> None:
    embeddings, _ = blobs(48, 12, 2)
    labels = ["common"] * 36 + ["rare"] * 12
    balanced = adapters.fit(
        embeddings, labels, HeadSpec(family, l2=2.0, class_weight="balanced"), fingerprint="f00d"
    )
    assert balanced.head.class_weights == pytest.approx({"common": 24 / 36, "rare": 24 / 12})
    by_label = HeadSpec(family, l2=2.0, class_weights={"common": 24 / 36, "rare": 24 / 12})
    other = adapters.fit(embeddings, labels, by_label, fingerprint="f00d")
    assert state(other.head) == state(balanced.head)
    assert not learn(family, embeddings, labels).head.class_weights


@pytest.mark.parametrize("family", ["ridge", "logistic", "lda"])
def test_balanced_classes_find_more_of_the_rare_one(family: str) -> None:
    embeddings, labels = noisy(400, 10, 2, distance=1.0)
    rare = np.array(labels) == "class 1"
    kept = ~rare | (np.cumsum(rare) <= 30)
    training, names = embeddings[kept], np.array(labels)[kept].tolist()
    recall = {
        weight: np.mean(
            adapters.fit(training, names, HeadSpec(family, class_weight=weight), fingerprint="f00d")
            .head.probabilities(embeddings[rare])
            .argmax(axis=1)
        )
        for weight in (None, "balanced")
    }
    assert recall["balanced"] > recall[None] + 0.1


@pytest.mark.parametrize("family", ["prototype", "auto"])
def test_one_example_of_each_class_is_enough_for_a_prototype(family: str) -> None:
    embeddings, labels = blobs(5, 20, 5)
    fitted = learn(family, embeddings, labels)
    assert (fitted.head.family, fitted.head.l2) == ("prototype", None)
    assert adapters.evaluate(fitted.head, embeddings, labels).estimate.accuracy == 1.0
    assert fitted.report.estimate is None
    assert fitted.held_out is None
    assert fitted.head.temperature == DEFAULT_TEMPERATURE
    chosen = {c.family for c in fitted.report.candidates if c.chosen}
    assert chosen == {"prototype"}


@families
def test_auto_and_every_family_start_from_an_earlier_version(family: str) -> None:
    embeddings, labels = blobs(60, 8, 3)
    first = learn(family, embeddings[:30], labels[:30])
    spec = HeadSpec(family, l2=1.0)
    cold = adapters.fit(embeddings, labels, spec, fingerprint="f00d")
    warm = adapters.fit(embeddings, labels, spec, fingerprint="f00d", start=first.head)
    np.testing.assert_allclose(
        warm.head.probabilities(embeddings), cold.head.probabilities(embeddings), atol=3e-3
    )


def test_a_head_of_another_backbone_is_no_start() -> None:
    embeddings, labels = blobs(30, 8, 3)
    head = learn("logistic", embeddings, labels).head
    with pytest.raises(adapters.InvalidArgument) as caught:
        adapters.fit(embeddings, labels, fingerprint="beef", start=head)
    assert (caught.value.field, caught.value.limit, caught.value.value) == ("start", "beef", "f00d")
