"""Inputs without a backbone: what direct training learns from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.feature_extraction.text import HashingVectorizer, TfidfTransformer
from sklearn.preprocessing import normalize

ALIKE_PICTURES = 0.95
"""Correlation of two pictures from which on they may be near-duplicates. One saved again as
JPEG lies above it, another shot of the same thing below."""

ALIKE_TEXTS = 0.7
"""Cosine of two texts, as TF-IDF, from which on they may be. One sent again with another link or
name in it lies above."""

TOKEN = r"\w+|[^\w\s]+"  # noqa: S105 - no secret
"""A word, or a run of other signs: smileys are words, too."""

HASHED_TO = 2**18
"""Columns that n-grams are hashed to, which bounds memory; of 20,000 of them, 4 % share one."""

MAX_WEIGHTS = 5_000_000
"""Columns times classes of texts; the most frequent n-grams are kept."""

MAX_CHARACTERS = 2_000
"""Of a text that are read; a backbone's window ends sooner."""


class Pixels:
    """Small pictures as their pixels.

    Args:
        pixels: uint8 of shape (n, width): all pictures have the same size.
    """

    words = "scaled pixels"

    def __init__(self, pixels: NDArray[np.uint8]) -> None:
        self.scaled = (pixels / 255).astype(np.float32)
        centred = self.scaled - self.scaled.mean(axis=1, keepdims=True)
        length = np.linalg.norm(centred, axis=1, keepdims=True)
        # Pictures of one colour differ in nothing that a correlation could see.
        flat = length < 1e-4
        centred = np.where(flat, 1.0, centred)
        length = np.where(flat, np.sqrt(pixels.shape[1]), length)
        self._units = (centred / length).astype(np.float32)

    def __len__(self) -> int:
        """Return the number of pictures."""
        return len(self.scaled)

    def alike(self, some: slice, others: slice) -> NDArray[np.bool_]:
        """Return which pictures correlate: what they show counts, not brightness and contrast."""
        alike: NDArray[np.bool_] = self._units[some] @ self._units[others].T >= ALIKE_PICTURES
        return alike


class Texts:
    """Texts as TF-IDF of their words and pairs of words, rows of unit length.

    Frequencies within a text count by 1 + log (Salton and Buckley 1988, IPM 24:513).

    Args:
        texts: n of them.
        classes: how many there are.

    Attributes:
        features: what makes such rows of other texts.
        tfidf: sparse float32 of shape (n, columns).
    """

    words = "TF-IDF of words and pairs of words"

    def __init__(self, texts: Sequence[str], classes: int) -> None:
        self._counts, self._classes = _counts(texts), classes
        self.features = TextFeatures(self._counts, classes)
        self.tfidf = self.features.of_counts(self._counts)

    def __len__(self) -> int:
        """Return the number of texts."""
        rows: int = self.tfidf.shape[0]
        return rows

    def learned_from(self, part: NDArray[np.bool_]) -> csr_array[Any]:
        """Return rows for all texts whose columns and weights only know some of them.

        What is held out must not say which n-grams are worth a column: on 300 short texts that
        makes an estimate two points too high.

        Args:
            part: which to know, of shape (n,).
        """
        return TextFeatures(self._counts[part], self._classes).of_counts(self._counts)

    def alike(self, some: slice, others: slice) -> NDArray[np.bool_]:
        """Return which texts have most of their words in common."""
        cosines = self.tfidf[some] @ self.tfidf[others].T
        alike: NDArray[np.bool_] = cosines.toarray() >= ALIKE_TEXTS
        return alike


class TextFeatures:
    """Which columns texts become, and what each weighs; learned from some texts, used on any.

    Args:
        counts: of the n-grams of some texts, sparse, of shape (texts, `HASHED_TO`).
        classes: how many there are.

    Attributes:
        count: texts that it was learned from.
        most_frequent: how many of them have the most frequent n-gram.
        bounded: whether n-grams that several texts have were left out, as there are too many.
    """

    def __init__(self, counts: Any, classes: int) -> None:
        frequency = counts.getnnz(axis=0)
        # What a single text has says nothing about another one.
        shared = int(np.count_nonzero(frequency > 1))
        most = min(shared, MAX_WEIGHTS // classes)
        self.count, self.most_frequent = int(counts.shape[0]), int(frequency.max())
        self.bounded = most < shared
        self._columns = np.sort(np.argsort(-frequency, kind="stable")[: max(1, most)])
        self._weights = TfidfTransformer(sublinear_tf=True).fit(counts[:, self._columns])

    @property
    def width(self) -> int:
        """Number of columns."""
        return len(self._columns)

    def of(self, texts: Sequence[str]) -> csr_array[Any]:
        """Return the features of texts, of shape (n, columns)."""
        return self.of_counts(_counts(texts))

    def of_counts(self, counts: Any) -> csr_array[Any]:
        """Return the features of texts whose n-grams are counted, of shape (n, columns)."""
        weighed = self._weights.transform(counts[:, self._columns])
        return csr_array(normalize(weighed), dtype=np.float32)


def _counts(texts: Sequence[str]) -> Any:
    """Count the n-grams of texts; sparse, of shape (n, `HASHED_TO`)."""
    hashing = HashingVectorizer(
        n_features=HASHED_TO,
        ngram_range=(1, 2),
        token_pattern=TOKEN,
        alternate_sign=False,
        norm=None,
    )
    return hashing.transform([text[:MAX_CHARACTERS] for text in texts])


Raw = Pixels | Texts
"""Inputs without a backbone."""
