"""What heads are measured against: cross-validated logistic regression of scikit-learn."""

from __future__ import annotations

import warnings
from typing import Any

from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

NAME = "LogisticRegressionCV"


def fit(embeddings: ArrayLike, labels: list[str]) -> Any:
    """Return a pipeline of StandardScaler and LogisticRegressionCV, fitted."""
    pipeline = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=5, cv=5, max_iter=1000))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # it is taken as it comes
        warnings.simplefilter("ignore", FutureWarning)  # defaults that will change some day
        return pipeline.fit(embeddings, labels)
