"""Fronts are what they say, fold into weights where they can, and survive storage bit by bit."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.preprocessing import normalize

from adapters import InvalidWeights
from adapters.fronts import MAX_SIGNS, MAX_WIDTH, METADATA, Front
from adapters.spec import FRONTS
from tests.adapters.data import blobs

EMBEDDINGS = blobs(40, 12, 3)[0].astype(np.float64)

kinds = pytest.mark.parametrize("kind", FRONTS)
units = pytest.mark.parametrize("unit", [False, True], ids=["plain", "unit"])


def front_of(kind: str, unit: bool = False, seed: int = 3) -> Front:
    return Front.of(kind, EMBEDDINGS, None, seed, unit=unit)


def test_standardisation_has_a_floor() -> None:
    rows = EMBEDDINGS.copy()
    rows[:, 0] = 7.0
    front = Front.of("standardise", rows)
    variance = rows.var(axis=0)
    expected = (rows - rows.mean(axis=0)) / np.sqrt(variance + variance.mean() / 4)
    np.testing.assert_allclose(front.features(rows), expected, atol=1e-5)
    assert not front.features(rows)[:, 0].any()


def test_weights_count_in_mean_and_variance() -> None:
    weights = np.where(np.arange(len(EMBEDDINGS)) % 2, 2.0, 1.0)
    weighted = Front.of("standardise", EMBEDDINGS, weights)
    repeated = Front.of("standardise", np.repeat(EMBEDDINGS, weights.astype(int), axis=0))
    np.testing.assert_allclose(weighted.mean, repeated.mean, rtol=1e-6)
    np.testing.assert_allclose(weighted.scale, repeated.scale, rtol=1e-6)


def test_normalising_forgets_lengths() -> None:
    front = front_of("normalise")
    lengths = np.linspace(0.1, 10, len(EMBEDDINGS))[:, None]
    expected = front.features(EMBEDDINGS)
    np.testing.assert_allclose(front.features(lengths * EMBEDDINGS), expected, atol=1e-9)
    plain = (normalize(EMBEDDINGS) - front.mean) / front.scale
    np.testing.assert_allclose(expected, plain)


def test_projection_is_decided_by_its_seed_and_bends() -> None:
    front, same, other = (front_of("projection", seed=seed) for seed in (3, 3, 4))
    features = front.features(EMBEDDINGS)
    assert features.shape == (len(EMBEDDINGS), front.feature_count)
    assert features.tobytes() == same.features(EMBEDDINGS).tobytes()
    assert not np.allclose(features, other.features(EMBEDDINGS))
    between = front.features((EMBEDDINGS[:1] + EMBEDDINGS[1:2]) / 2)
    assert np.abs(between - features[:2].mean(axis=0)).max() > 0.1


def test_signs_of_a_projection_are_the_same_for_ever() -> None:
    """A stored head is worthless behind another matrix."""
    signs = front_of("projection").signs[0, :12]
    assert "".join("+" if sign > 0 else "-" for sign in signs) == "+-++-+------"


@kinds
def test_unit_features_have_unit_length(kind: str) -> None:
    features = front_of(kind, unit=True).features(EMBEDDINGS)
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1.0)


def test_an_embedding_of_zeros_stays_finite() -> None:
    for kind in FRONTS:
        for unit in (False, True):
            assert np.isfinite(front_of(kind, unit).features(np.zeros((1, 12)))).all()


@kinds
@units
@given(seed=st.integers(0, 1000))
def test_folded_weights_score_what_is_served_alike(kind: str, unit: bool, seed: int) -> None:
    front = front_of(kind, unit)
    rng = np.random.default_rng(seed)
    weight, bias = rng.normal(size=(3, front.feature_count)), rng.normal(size=3)
    folded, folded_bias = front.fold(weight, bias)
    expected = front.features(EMBEDDINGS) @ weight.T + bias
    scores = front.serve(EMBEDDINGS) @ folded.T + folded_bias
    np.testing.assert_allclose(scores, expected, rtol=1e-8, atol=1e-8)
    back = front.unfold(folded, folded_bias)
    np.testing.assert_allclose(back[0], weight, rtol=1e-9)
    np.testing.assert_allclose(back[1], bias, rtol=1e-6, atol=1e-8)


def test_plain_standardisation_serves_embeddings_as_they_are() -> None:
    front = front_of("standardise")
    assert front.folds
    np.testing.assert_array_equal(front.serve(EMBEDDINGS), EMBEDDINGS)
    assert not any(front_of(kind, True).folds for kind in FRONTS)


@kinds
@units
def test_stored_front_gives_the_same_bits(kind: str, unit: bool) -> None:
    front = front_of(kind, unit)
    copy = Front.from_tensors(*front.to_tensors())
    assert copy is not None
    assert copy.features(EMBEDDINGS).tobytes() == front.features(EMBEDDINGS).tobytes()
    assert (copy.kind, copy.seed, copy.width, copy.unit) == (kind, front.seed, front.width, unit)


def test_nothing_stored_is_no_front() -> None:
    assert Front.from_tensors({}, {"labels": "[]"}) is None


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kind": "whiten"}, "front.kind"),
        ({"kind": ["standardise"]}, "front.kind"),
        ({"seed": -1}, "front.seed"),
        ({"seed": 2**64}, "front.seed"),
        ({"seed": "3"}, "front.seed"),
        ({"width": 10**9}, "front.width"),
        ({"width": 1}, "front.width"),
        ({"kind": "projection", "width": 0}, "front.width"),
        ({"kind": "projection", "width": MAX_WIDTH + 1}, "front.width"),
        ({"unit": 1}, "front.unit"),
        ({"payload": 1}, "front"),
        ({"mean": 1}, "front"),
    ],
)
def test_hostile_metadata_is_refused(change: dict[str, Any], field: str) -> None:
    tensors, metadata = front_of("standardise").to_tensors()
    fields = json.loads(metadata[METADATA]) | change
    with pytest.raises(InvalidWeights) as caught:
        Front.from_tensors(tensors, {METADATA: json.dumps(fields)})
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["", "nothing", "[" * 100_000, "[]", "3", '"standardise"', "{}"])
def test_metadata_that_is_no_object_is_refused(text: str) -> None:
    tensors, _ = front_of("standardise").to_tensors()
    with pytest.raises(InvalidWeights) as caught:
        Front.from_tensors(tensors, {METADATA: text})
    assert caught.value.field == "front"


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("mean", np.full(12, np.nan, np.float32)),
        ("mean", np.zeros((12, 1), np.float32)),
        ("mean", np.zeros(12)),
        ("mean", np.zeros(0, np.float32)),
        ("scale", np.zeros(12, np.float32)),
        ("scale", -np.ones(12, np.float32)),
        ("scale", np.ones(11, np.float32)),
        ("scale", np.full(12, np.inf, np.float32)),
        ("scale", None),
    ],
)
def test_hostile_tensors_are_refused(name: str, array: Any) -> None:
    tensors, metadata = front_of("standardise").to_tensors()
    changed = {key: value for key, value in tensors.items() if key != f"front.{name}"}
    if array is not None:
        changed[f"front.{name}"] = array
    with pytest.raises(InvalidWeights) as caught:
        Front.from_tensors(changed, metadata)
    assert caught.value.field == f"front.{name}"


def test_a_few_bytes_cannot_ask_for_a_huge_matrix() -> None:
    dim = 2 * MAX_SIGNS // MAX_WIDTH
    vector = np.ones(dim, np.float32)
    with pytest.raises(InvalidWeights) as caught:
        Front("projection", vector, vector, 0, MAX_WIDTH)
    assert caught.value.field == "front.width"
    assert Front("projection", vector, vector, 0, MAX_WIDTH // 2).feature_count == MAX_WIDTH // 2


def test_projections_of_very_long_embeddings_get_narrower() -> None:
    front = Front.of("projection", np.random.default_rng(0).normal(size=(3, 20_000)))
    assert front.dim * front.width <= MAX_SIGNS < front.dim * (front.width + 1)


@kinds
@units
def test_warming_up_changes_no_bit(kind: str, unit: bool) -> None:
    cold, warm = front_of(kind, unit), front_of(kind, unit)
    warm.warm_up()
    warm.warm_up()
    assert warm.features(EMBEDDINGS).tobytes() == cold.features(EMBEDDINGS).tobytes()
