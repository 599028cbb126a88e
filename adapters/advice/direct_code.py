"""Direct training as lines of Python: what was measured, for somebody to run without a server."""

from __future__ import annotations

import math

from adapters.advice.direct_features import MAX_CHARACTERS, TOKEN, TextFeatures

_TEXTS = """\
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline

rows = [text[:{characters}] for text in inputs]
words = TfidfVectorizer({options})
model = make_pipeline(words, LogisticRegression(C={c:.4g}, max_iter={steps}, tol=1e-3))
"""

_PIXELS = """\
import numpy as np
from PIL import Image, ImageOps
from sklearn.linear_model import {estimator}
from sklearn.model_selection import StratifiedKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

def pixels(file):
    picture = ImageOps.exif_transpose(Image.open(file)).convert("RGBA").resize(({side}, {side}))
    white = Image.new("RGBA", picture.size, "white")
    return np.asarray(Image.alpha_composite(white, picture).convert("{mode}")).ravel() / 255

rows = np.array([pixels(file) for file in inputs])
mean, scale = rows.mean(axis=0), np.sqrt(rows.var(axis=0) + rows.var(axis=0).mean() / 4)
front = FunctionTransformer(lambda rows: (rows - mean) / scale)
model = make_pipeline(front, {estimator}({options}))
"""

_END = """\
folds = StratifiedKFold({folds}, shuffle=True, random_state=0)
print(cross_val_score(model, rows, labels, cv=folds).mean())
model.fit(rows, labels)
"""


def text_code(features: TextFeatures, strength: float, steps: int, folds: int) -> str:
    """Return the lines for `inputs`, texts, and `labels`; they make `model`.

    Args:
        features: made of all texts.
        strength: scikit-learn's C.
        steps: of its solver.
        folds: to print the accuracy of; no class need have as many examples, but one.
    """
    options = ["ngram_range=(1, 2)", f'token_pattern=r"{TOKEN}"', "sublinear_tf=True"]
    # What only so many texts have may be in one text, or in none, of those that a fold leaves.
    if features.most_frequent > math.ceil(features.count / folds) + 1:
        options.append("min_df=2")
    if features.bounded:
        options.append(f"max_features={features.width}")
    given = ", ".join(options)
    code = _TEXTS.format(characters=MAX_CHARACTERS, options=given, c=strength, steps=steps)
    return code + _END.format(folds=folds)


def pixel_code(width: int, family: str, l2: float, classes: int, folds: int) -> str:
    """Return the lines for `inputs`, files of pictures, and `labels`; they make `model`.

    Args:
        width: numbers of a picture: those of a square, gray or of three channels.
        family: "logistic" or "ridge".
        l2: the strength.
        classes: how many there are.
        folds: see `text_code`.
    """
    gray = math.isqrt(width) ** 2 == width
    # Of two classes scikit-learn has one row of weights, the difference of a head's two, and a
    # head's penalty is half of it.
    c = (2 if classes == 2 else 1) / l2
    logistic = family == "logistic"
    code = _PIXELS.format(
        estimator="LogisticRegression" if logistic else "RidgeClassifier",
        side=math.isqrt(width if gray else width // 3),
        mode="L" if gray else "RGB",
        options=f"C={c:.4g}, max_iter=1000" if logistic else f"alpha={l2:.4g}",
    )
    return code + _END.format(folds=folds)
