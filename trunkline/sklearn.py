"""Heads from scikit-learn's linear classifiers, and scikit-learn's classifiers from heads.

    weights = weights_of(LogisticRegression().fit(embeddings, labels))
    client.import_head("acme/defects", weights, "efficientnet/lite0")

    classifier = estimator_of(client.export_head("acme/defects"))
    classifier.predict_proba(embeddings)

Weights travel as safetensors, and nothing is pickled. These functions need numpy, safetensors and
scikit-learn (`pip install 'trunkline[sklearn]'`), which importing this module does not.

A head answers `softmax(weight @ embedding + bias)`. That is what `predict_proba` says of

- LogisticRegression and LogisticRegressionCV, unless they are fitted one against the rest,
- LinearDiscriminantAnalysis,
- SGDClassifier with loss "log_loss" and two classes.

RidgeClassifier, RidgeClassifierCV, LinearSVC, Perceptron and SGDClassifier with any other loss know
no probabilities. A head made of one gives the same labels, and as probabilities the softmax of the
decision function; in the case of two classes, its logistic function. They are not calibrated.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Any

from trunkline.errors import InvalidArgument
from trunkline.labels import normalised
from trunkline.values.heads import Export
from trunkline.values.sequences import file_bytes
from trunkline.wire.weights import metadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def weights_of(estimator: Any, *, fingerprint: str = "") -> bytes:
    """Writes a fitted linear classifier's weights as a safetensors file for `Client.import_head`.

    Labels are the classes as strings, in their normal form (NFC). With two classes scikit-learn
    keeps one row of weights, w, which becomes the rows -w/2 and w/2, of which the softmax is the
    logistic function of w.

    Args:
        estimator: one of the classifiers that this module names, or a Pipeline of StandardScalers
            and one of them; scaling is folded into the weights.
        fingerprint: of the backbone whose embeddings it was fitted on; goes into the file.

    Raises:
        InvalidArgument: if it is another estimator, is not fitted, has several outputs, or two
            classes whose labels are the same.
    """
    import numpy as np
    import safetensors.numpy

    *scalers, classifier = _steps(estimator)
    labels, weight, bias = _linear(classifier)
    for scaler in reversed(scalers):
        weight, bias = _behind(scaler, weight, bias)
    about = {"labels": json.dumps(labels, ensure_ascii=False)}
    if fingerprint:
        about["fingerprint"] = fingerprint
    tensors = {"weight": np.ascontiguousarray(weight), "bias": np.ascontiguousarray(bias)}
    return safetensors.numpy.save(tensors, metadata=about)


def estimator_of(weights: Export | bytes) -> Any:
    """Returns a fitted scikit-learn classifier that answers as the head does, at its temperature.

    It is a LogisticRegression, or a Pipeline that ends in one where a front stands before the
    weights that they cannot contain. Novelty and conformal sets stay behind.

    Args:
        weights: an exported version, or its safetensors file.

    Raises:
        InvalidArgument: if it is no head's file, or its front is of a kind not known here.
    """
    import numpy as np
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    data = file_bytes(weights.safetensors if isinstance(weights, Export) else weights, "weights")
    tensors, about = _tensors(data), metadata(data)
    try:
        labels = np.array(json.loads(about["labels"]), dtype=str)
        weight, bias = (tensors[name].astype(np.float64) for name in ("weight", "bias"))
    except (KeyError, ValueError) as error:
        raise InvalidArgument(f"not a head's file: {error}", field="safetensors") from error
    order = np.argsort(labels)
    temperature = float(about.get("temperature", 1.0))
    weight, bias = weight[order] / temperature, bias[order] / temperature
    if len(labels) == 2:
        weight, bias = weight[1:] - weight[:1], bias[1:] - bias[:1]
    classifier = LogisticRegression()
    classifier.classes_ = labels[order]
    classifier.coef_, classifier.intercept_ = weight, bias
    classifier.n_features_in_ = weight.shape[1]
    classifier.n_iter_ = np.zeros(1, dtype=np.int32)
    before = _front(json.loads(about["front"]), tensors) if "front" in about else []
    return make_pipeline(*before, classifier) if before else classifier


def _steps(estimator: Any) -> list[Any]:
    """Returns a pipeline's steps, pipelines within it included; scalers before one classifier."""
    from sklearn.pipeline import Pipeline

    if not isinstance(estimator, Pipeline):
        return [estimator]
    return [
        inner
        for _, step in estimator.steps
        if step not in (None, "passthrough")
        for inner in _steps(step)
    ]


def _linear(classifier: Any) -> "tuple[list[str], Array, Array]":
    """Returns labels, weight (classes, dim) and bias (classes,) of a classifier."""
    import numpy as np

    known = _classifiers()
    if not isinstance(classifier, known):
        raise _unsuited(classifier, ", ".join(sorted(row.__name__ for row in known)))
    _check_fitted(classifier)
    coef = classifier.coef_
    weight = np.atleast_2d(coef.toarray() if hasattr(coef, "toarray") else coef).astype(np.float64)
    bias = np.broadcast_to(np.asarray(classifier.intercept_, np.float64), weight.shape[:1])
    labels = _labels(classifier.classes_)
    if len(labels) == 2 and len(weight) == 1:
        weight, bias = np.vstack([-weight, weight]) / 2, np.hstack([-bias, bias]) / 2
    outputs = np.ndim(classifier.predict(np.zeros((1, weight.shape[1]))))
    if len(weight) != len(labels) or outputs != 1:
        raise InvalidArgument(
            "a head has one output, and a row of weights for each class: "
            f"this estimator has {len(weight)} rows for {len(labels)} classes",
            field="estimator",
            limit="one output",
            value=type(classifier).__name__,
        )
    return labels, weight, bias


def _labels(classes: Any) -> list[str]:
    """Returns the classes' labels; two that become one cannot be those of a head."""
    found: dict[str, str] = {}
    for label in map(str, classes):
        first = found.setdefault(normalised(label), label)
        if first != label:
            raise InvalidArgument(
                f"classes {first!a} and {label!a} have the same label, written in two "
                "Unicode forms",
                field="estimator",
                limit="one class for each label",
                value=ascii(label),
            )
    return list(found)


def _classifiers() -> tuple[Any, ...]:
    from sklearn import discriminant_analysis, linear_model, svm

    return (
        discriminant_analysis.LinearDiscriminantAnalysis,
        linear_model.LogisticRegression,
        linear_model.Perceptron,
        linear_model.RidgeClassifier,
        linear_model.RidgeClassifierCV,
        linear_model.SGDClassifier,
        svm.LinearSVC,
    )


def _behind(scaler: Any, weight: "Array", bias: "Array") -> "tuple[Array, Array]":
    """Returns the weights that do to raw features what these do to scaled ones."""
    from sklearn.preprocessing import StandardScaler

    if not isinstance(scaler, StandardScaler):
        raise _unsuited(scaler, "StandardScaler before a linear classifier")
    _check_fitted(scaler)
    if scaler.scale_ is not None:
        weight = weight / scaler.scale_
    if scaler.with_mean:
        bias = bias - weight @ scaler.mean_
    return weight, bias


def _check_fitted(estimator: Any) -> None:
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        check_is_fitted(estimator)
    except NotFittedError as error:
        raise InvalidArgument(str(error), field="estimator") from error


def _unsuited(estimator: Any, limit: str) -> InvalidArgument:
    name = type(estimator).__name__
    return InvalidArgument(
        f"cannot make a head of {name}, expected {limit}",
        field="estimator",
        limit=limit,
        value=name,
    )


def _tensors(data: bytes) -> "dict[str, NDArray[Any]]":
    import safetensors
    import safetensors.numpy

    try:
        return safetensors.numpy.load(data)
    except safetensors.SafetensorError as error:
        raise InvalidArgument(f"not a safetensors file: {error}", field="safetensors") from error


def _front(front: dict[str, Any], tensors: "dict[str, NDArray[Any]]") -> list[Any]:
    """Returns the steps before the weights; none where the weights contain them."""
    from sklearn.preprocessing import FunctionTransformer, Normalizer

    kind, unit = front.get("kind"), front.get("unit", False)
    after = [Normalizer()] if unit else []
    if kind == "standardise":
        return [_scaler(tensors), *after] if unit else []
    if kind == "normalise":
        return [Normalizer(), _scaler(tensors), *after] if unit else [Normalizer()]
    if kind == "projection":
        signs = _signs(front["seed"], len(tensors["front.mean"]), front["width"])
        projected = FunctionTransformer(random_features, kw_args={"signs": signs})
        return [_scaler(tensors), projected, *after]
    raise InvalidArgument(
        f"scikit-learn has nothing like the head's front: {kind}", field="front", value=str(kind)
    )


def _scaler(tensors: "dict[str, NDArray[Any]]") -> Any:
    import numpy as np
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    scaler.mean_ = tensors["front.mean"].astype(np.float64)
    scaler.scale_ = tensors["front.scale"].astype(np.float64)
    scaler.var_ = scaler.scale_**2
    scaler.n_features_in_ = len(scaler.mean_)
    scaler.n_samples_seen_ = 1
    return scaler


def random_features(rows: "Array", signs: "Array") -> "Array":
    """Computes random features of a head's projection front (RanPAC, McDonnell et al. 2023).

    Rows are standardised embeddings of shape (n, dim), `signs` have shape (dim, width).
    """
    import numpy as np

    features: Array = np.maximum(rows @ signs, 0.0) - 1 / np.sqrt(2 * np.pi)
    return features


def _signs(seed: int, dim: int, width: int) -> "Array":
    """Computes the projection's signs over sqrt(dim): bits of SHAKE256 of the seed in 8 bytes."""
    import numpy as np

    count = dim * width
    stream = hashlib.shake_256(seed.to_bytes(8, "little")).digest((count + 7) // 8)
    bits = np.unpackbits(np.frombuffer(stream, np.uint8), count=count).reshape(dim, width)
    signs: Array = (bits * 2.0 - 1.0) / np.sqrt(dim)
    return signs
