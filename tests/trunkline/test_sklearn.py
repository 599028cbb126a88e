from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import (
    LogisticRegression,
    LogisticRegressionCV,
    Perceptron,
    RidgeClassifier,
    RidgeClassifierCV,
    SGDClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, Normalizer, StandardScaler
from sklearn.svm import SVC, LinearSVC

from adapters.fronts import Front
from adapters.head import Head
from trunkline import Export, HeadSpec, InvalidArgument, Version
from trunkline.sklearn import estimator_of, weights_of

FINGERPRINT = "ab" * 32
DIM = 6
LABELS: dict[str, Callable[[int], list[Any]]] = {
    "strings": lambda classes: [f"label {number}" for number in range(classes)],
    "integers": lambda classes: [10 * number - 7 for number in range(classes)],
}
WITH_PROBABILITIES = {
    "logistic": LogisticRegression(max_iter=2000),
    "logistic-cv": LogisticRegressionCV(
        Cs=2,
        cv=2,
        l1_ratios=(0,),
        scoring="neg_log_loss",
        use_legacy_attributes=False,
        max_iter=2000,
    ),
    "lda": LinearDiscriminantAnalysis(),
    "lda-shrunk": LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto"),
    "no-intercept": LogisticRegression(fit_intercept=False, max_iter=2000),
}
WITH_DECISIONS = {
    "ridge": RidgeClassifier(),
    "ridge-cv": RidgeClassifierCV(),
    "svm": LinearSVC(random_state=0),
    "svm-no-intercept": LinearSVC(fit_intercept=False, random_state=0),
    "sgd": SGDClassifier(random_state=0),
    "perceptron": Perceptron(random_state=0),
}
PIPELINES: dict[str, Callable[[Any], Any]] = {
    "bare": lambda model: model,
    "scaled": lambda model: make_pipeline(StandardScaler(), model),
    "only-centred": lambda model: make_pipeline(StandardScaler(with_std=False), model),
    "only-scaled": lambda model: make_pipeline(StandardScaler(with_mean=False), model),
    "scaled-twice": lambda model: make_pipeline(
        StandardScaler(), "passthrough", make_pipeline(StandardScaler(), model)
    ),
}


def data(classes: int, labels: str, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    numbers = np.arange(60) % classes
    means = rng.normal(0, 1.5, (classes, DIM))
    rows = (means[numbers] + rng.normal(0, 1, (60, DIM))) * [1, 2, 0.5, 4, 1, 1] + 1
    return rows.astype(np.float32), np.array(LABELS[labels](classes))[numbers]


def head_of(estimator: Any) -> Head:
    return Head.from_safetensors(weights_of(estimator, fingerprint=FINGERPRINT))


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("model", WITH_PROBABILITIES)
def test_a_head_has_the_estimators_probabilities(
    model: str, pipeline: str, classes: int, labels: str
) -> None:
    rows, targets = data(classes, labels)
    estimator = PIPELINES[pipeline](clone(WITH_PROBABILITIES[model])).fit(rows, targets)
    head = head_of(estimator)
    assert head.labels == tuple(str(label) for label in estimator.classes_)
    expected = estimator.predict_proba(rows.astype(np.float64))
    assert np.abs(head.probabilities(rows) - expected).max() < 1e-5


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("pipeline", PIPELINES)
@pytest.mark.parametrize("model", WITH_DECISIONS)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_head_decides_as_the_estimator_does(
    model: str, pipeline: str, classes: int, labels: str
) -> None:
    rows, targets = data(classes, labels)
    estimator = PIPELINES[pipeline](clone(WITH_DECISIONS[model])).fit(rows, targets)
    head = head_of(estimator)
    decisions = estimator.decision_function(rows.astype(np.float64))
    logits = head.logits(rows)
    if classes == 2:
        logits = logits[:, 1] - logits[:, 0]
    np.testing.assert_allclose(logits, decisions, rtol=1e-4, atol=2e-4 * np.abs(decisions).max())
    best = head.probabilities(rows).argmax(axis=1)
    clear = np.abs(decisions) > 1e-3 if classes == 2 else np.ptp(decisions, axis=1) > 1e-3
    expected = [str(label) for label in estimator.predict(rows.astype(np.float64))]
    found = [head.labels[index] for index in best]
    assert [a for a, ok in zip(found, clear, strict=True) if ok] == [
        a for a, ok in zip(expected, clear, strict=True) if ok
    ]


def test_logistic_loss_by_gradient_descent_keeps_its_probabilities_with_two_classes() -> None:
    rows, targets = data(2, "strings")
    pipeline = make_pipeline(StandardScaler(), SGDClassifier(loss="log_loss", random_state=0))
    estimator = pipeline.fit(rows, targets)
    expected = estimator.predict_proba(rows.astype(np.float64))
    assert np.abs(head_of(estimator).probabilities(rows) - expected).max() < 1e-5


def test_the_file_names_the_fingerprint_only_if_it_is_known() -> None:
    estimator = LogisticRegression().fit(*data(2, "strings"))
    assert head_of(estimator).fingerprint == FINGERPRINT
    assert Head.from_safetensors(weights_of(estimator), fingerprint="cd").fingerprint == "cd"


@pytest.mark.parametrize(
    ("estimator", "name"),
    [
        (RandomForestClassifier(), "RandomForestClassifier"),
        (SVC(kernel="linear"), "SVC"),
        (make_pipeline(MinMaxScaler(), LogisticRegression()), "MinMaxScaler"),
        (make_pipeline(Normalizer(), LogisticRegression()), "Normalizer"),
        (make_pipeline(StandardScaler(), StandardScaler()), "StandardScaler"),
    ],
)
def test_what_no_head_can_say_is_refused_by_name(estimator: Any, name: str) -> None:
    rows, targets = data(3, "strings")
    with pytest.raises(InvalidArgument, match=name) as caught:
        weights_of(estimator.fit(rows, targets))
    assert (caught.value.field, caught.value.value) == ("estimator", name)


@pytest.mark.parametrize(
    "estimator", [LogisticRegression(), make_pipeline(StandardScaler(), LogisticRegression())]
)
def test_an_estimator_that_is_not_fitted_is_refused(estimator: Any) -> None:
    with pytest.raises(InvalidArgument, match="not fitted"):
        weights_of(estimator)


def test_labels_are_normalised_and_two_forms_of_one_are_refused_by_name() -> None:
    rows = np.random.default_rng(0).normal(size=(6, DIM))
    fitted = LinearDiscriminantAnalysis().fit(rows, ["cafe\u0301", "tea"] * 3)
    head = Head.from_safetensors(weights_of(fitted, fingerprint=FINGERPRINT))
    assert head.labels == ("caf\u00e9", "tea")
    both = LinearDiscriminantAnalysis().fit(rows, ["cafe\u0301", "caf\u00e9", "tea"] * 2)
    with pytest.raises(InvalidArgument, match=r"'cafe\\u0301' and 'caf\\xe9'"):
        weights_of(both)


def test_several_outputs_are_refused() -> None:
    rows, _ = data(3, "strings")
    several = RidgeClassifier().fit(rows, np.eye(3, dtype=int)[np.arange(60) % 3])
    with pytest.raises(InvalidArgument, match="one output"):
        weights_of(several)


def exported(classes: int, front: Front | None = None, width: int = DIM) -> tuple[Head, Export]:
    rng = np.random.default_rng(classes)
    head = Head(
        family="logistic",
        # Not in order, as labels of a head need not be.
        labels=tuple(f"label {number}" for number in reversed(range(classes))),
        weight=rng.normal(0, 0.3, (classes, width)).astype(np.float32),
        bias=rng.normal(0, 0.3, classes).astype(np.float32),
        fingerprint=FINGERPRINT,
        temperature=1.7,
        front=front,
    )
    version = Version(
        tail=None,
        name="tenants/acme/heads/mood/versions/1",
        version=1,
        active=True,
        source="training",
        family="logistic",
        spec=HeadSpec(),
        labels=head.labels,
        backbone="minilm/l6-v2",
        fingerprint=FINGERPRINT,
        example_count=10,
        create_time=datetime(2026, 1, 1, tzinfo=UTC),
    )
    return head, Export(version, head.to_safetensors())


def assert_same_probabilities(head: Head, estimator: Any, rows: Any) -> None:
    found = estimator.predict_proba(rows.astype(np.float64))
    order = [head.labels.index(label) for label in estimator.classes_]
    expected = head.probabilities(rows)[:, order]
    assert np.abs(found - expected).max() < 1e-5
    assert estimator.predict(rows.astype(np.float64)).tolist() == [
        str(estimator.classes_[index]) for index in expected.argmax(axis=1)
    ]


@pytest.mark.parametrize("classes", [2, 5])
def test_an_exported_head_answers_as_an_estimator(classes: int) -> None:
    rows, _ = data(classes, "strings")
    head, export = exported(classes)
    estimator = estimator_of(export)
    assert isinstance(estimator, LogisticRegression)
    assert_same_probabilities(head, estimator, rows)
    assert_same_probabilities(head, estimator_of(export.safetensors), rows)


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("kind", ["standardise", "normalise", "projection"])
def test_a_head_behind_a_front_answers_as_a_pipeline(kind: str, unit: bool, classes: int) -> None:
    rows, _ = data(classes, "strings")
    front = Front.of(kind, rows, seed=3, unit=unit)
    head, export = exported(classes, front, front.feature_count)
    assert_same_probabilities(head, estimator_of(export), rows)


@pytest.mark.parametrize("classes", [2, 5])
def test_there_and_back_again_nothing_changes(classes: int) -> None:
    rows, _ = data(classes, "strings")
    head, export = exported(classes)
    back = head_of(estimator_of(export))
    order = [head.labels.index(label) for label in back.labels]
    difference = np.abs(back.probabilities(rows) - head.probabilities(rows)[:, order])
    assert difference.max() < 1e-6


def test_a_front_of_another_kind_is_an_error_that_names_it() -> None:
    _, export = exported(2)
    tensors = safetensors.numpy.load(export.safetensors)
    about = {"labels": '["a", "b"]', "front": '{"kind": "wavelets"}'}
    with pytest.raises(InvalidArgument, match="wavelets") as caught:
        estimator_of(safetensors.numpy.save(tensors, metadata=about))
    assert caught.value.field == "front"


@pytest.mark.parametrize("file", [b"", b"nonsense", safetensors.numpy.save({"x": np.zeros(2)})])
def test_a_file_that_is_no_heads_is_refused(file: bytes) -> None:
    with pytest.raises(InvalidArgument):
        estimator_of(file)
