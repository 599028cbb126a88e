"""Examples that no head can be learned from are refused by name."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import adapters
from adapters import HeadSpec, InvalidExamples
from tests.adapters.data import blobs

Change = Callable[[NDArray[np.float32], list[str]], tuple[Any, list[str]]]


def with_number(number: float) -> Change:
    def change(embeddings: NDArray[np.float32], labels: list[str]) -> tuple[Any, list[str]]:
        embeddings[4, 2] = number
        return embeddings, labels

    return change


BAD: dict[str, tuple[Change, str, str, object, object]] = {
    "none": (lambda e, y: (e[:0], []), "examples", "no examples", 1, 0),
    "no labels": (lambda e, y: (e, []), "examples", "no examples", 1, 0),
    "one axis": (lambda e, y: (e[:, 0], y), "embeddings", "shape", "(n, dim)", "(12,)"),
    "no features": (lambda e, y: (e[:, :0], y), "embeddings", "shape", "(n, dim)", "(12, 0)"),
    "a label short": (lambda e, y: (e, y[1:]), "labels", "11 labels for 12", 12, 11),
    "nan": (with_number(np.nan), "embeddings[4]", "embedding 4", "finite", "nan or infinite"),
    "inf": (with_number(-np.inf), "embeddings[4]", "embedding 4", "finite", "nan or infinite"),
    "one class": (lambda e, y: (e, ["cat"] * 12), "labels", "'cat'", 2, 1),
}


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("family", ["auto", *adapters.FAMILIES])
def test_bad_examples_name_field_limit_and_value(case: str, family: str) -> None:
    change, field, words, limit, value = BAD[case]
    embeddings, labels = change(*blobs(12, 5, 3))
    with pytest.raises(InvalidExamples, match=words) as caught:
        adapters.fit(embeddings, labels, HeadSpec(family), fingerprint="f00d")
    error = caught.value
    assert (error.field, error.limit, error.value) == (field, limit, value)


@pytest.mark.parametrize("family", ["ridge", "logistic", "lda"])
def test_a_class_of_one_is_refused_where_no_two_others_have_two(family: str) -> None:
    embeddings, labels = blobs(12, 5, 3)
    labels = [labels[0]] * 11
    with pytest.raises(InvalidExamples, match="'lynx' has 1 example") as caught:
        adapters.fit(embeddings, [*labels, "lynx"], HeadSpec(family), fingerprint="f00d")
    error = caught.value
    assert (error.field, error.limit, error.value) == ("labels[lynx]", 2, 1)


@pytest.mark.parametrize(
    ("weights", "field"),
    [
        ([1.0] * 11, "weights"),
        (np.ones((12, 1)), "weights"),
        ([1.0] * 11 + [0.0], "weights[11]"),
        ([1.0] * 11 + [-1.0], "weights[11]"),
        ([1.0] * 11 + [np.nan], "weights[11]"),
        ([np.inf] + [1.0] * 11, "weights[0]"),
    ],
)
def test_bad_weights_name_their_field(weights: Any, field: str) -> None:
    with pytest.raises(InvalidExamples) as caught:
        adapters.fit(*blobs(12, 5, 3), fingerprint="f00d", weights=weights)
    assert caught.value.field == field


def test_errors_survive_the_way_between_processes() -> None:
    error = InvalidExamples("too few", field="labels", limit=2, value=1)
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is InvalidExamples
    assert (str(copy), copy.field, copy.limit, copy.value) == ("too few", "labels", 2, 1)


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"family": "forest"}, "family"),
        ({"family": ""}, "family"),
        ({"seed": -1}, "seed"),
        ({"seed": 2**64}, "seed"),
        ({"l2": 0.0}, "l2"),
        ({"l2": -1.0}, "l2"),
        ({"l2": float("nan")}, "l2"),
        ({"l2": float("inf")}, "l2"),
    ],
)
def test_bad_specs_name_their_field(spec: dict[str, Any], field: str) -> None:
    with pytest.raises(adapters.InvalidSpec) as caught:
        HeadSpec(**spec)
    assert caught.value.field == field


def test_seeds_of_64_bits_are_taken() -> None:
    embeddings, labels = blobs(12, 5, 3)
    fitted = adapters.fit(embeddings, labels, HeadSpec(seed=2**64 - 1), fingerprint="f00d")
    assert fitted.report.spec.seed == 2**64 - 1
