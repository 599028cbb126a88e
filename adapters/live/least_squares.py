"""Ridge regression and linear discriminants that stay exact while examples come and go."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from adapters.errors import InvalidArgument
from adapters.groups import joint_rows
from adapters.live.inverse_moment import Inverse
from adapters.live.learner import Array, Given, Indices, Learner

MIN_SLACK = 1e-9
"""One minus an example's leverage is taken to be at least this. It is positive for every example
that is in; where it is smaller, the penalty is next to nothing and rounding decides."""


class LeastSquares(Learner):
    """State that both families share, kept by recursive least squares.

    With features X (n, features), weights W = diag(w) and one-hot targets Y (n, classes), these are
    P = (X' W X + l2 I)^-1 (`Inverse`), the class sums T = X' W Y, their images Q = P T and the
    classes' summed weights. An example x of class c with weight w and gain g = P x changes them by

        P -= a g g'        T += w x e_c'        Q += a g (e_c - Q' x)'        a = w / (1 + w x' g)

    (Plackett 1950, Biometrika 37:149; in class-incremental learning ACIL, Zhuang et al. 2022,
    https://arxiv.org/abs/2205.14922); taking it out is the same with -w. Another label leaves P as
    it is. In the arrays below classes are rows. A change costs one product with P.
    """

    of_classes = ("_sums", "_images", "_totals")

    def __init__(self, given: Given, l2: float) -> None:
        super().__init__(given.front)
        features = given.front.features(given.embeddings)
        self._inverse = Inverse.of(features, given.weights, l2)
        owner = np.arange(given.classes)[:, None] == given.targets
        self._totals = owner @ given.weights
        self._sums = (owner * given.weights) @ features
        self._images = self._inverse.times(self._sums)

    @property
    def nbytes(self) -> int:
        """Bytes its arrays hold in memory."""
        return self._inverse.nbytes + super().nbytes

    def learn(self, embedding: Array, target: int, weight: float) -> None:
        """Take in an example."""
        self._step(self._features(embedding), target, weight)

    def forget(self, embedding: Array, target: int, weight: float) -> None:
        """Take out an example that is in."""
        self._step(self._features(embedding), target, -weight)

    def relabel(self, embedding: Array, old: int, new: int, weight: float) -> None:
        """Move an example that is in to another class."""
        features = self._features(embedding)
        gain = self._inverse.times(features)
        for target, signed in ((old, -weight), (new, weight)):
            self._sums[target] += signed * features
            self._images[target] += signed * gain
            self._totals[target] += signed

    def held_out(
        self, embeddings: Array, targets: Indices, weights: Array, groups: Indices | None = None
    ) -> Array:
        """Return logits (n, classes), each by a model without the example or its group."""
        features = self._front.features(embeddings)
        logits = self._without_each(features, targets, weights)
        for rows in joint_rows(groups):
            logits[rows] = self._without_all(features[rows], targets[rows], weights[rows])
        return logits

    @abstractmethod
    def _without_each(self, features: Array, targets: Indices, weights: Array) -> Array:
        """Return logits (n, classes), each by a model without the example."""

    @abstractmethod
    def _without_all(self, features: Array, targets: Indices, weights: Array) -> Array:
        """Return logits (n, classes) by the model without all of these examples."""

    def _step(self, features: Array, target: int, weight: float) -> None:
        """Take in an example, or take one out if the weight is negative."""
        gain = self._inverse.times(features)
        slack = 1 + weight * float(features @ gain)
        if slack < MIN_SLACK:
            raise InvalidArgument(
                "the example cannot be taken out: the live copy has not learned it, or its "
                "penalty is too weak for exact updates",
                field="changes.embedding",
                limit=MIN_SLACK,
                value=slack,
            )
        factor = weight / slack
        error = -(self._images @ features)
        error[target] += 1
        self._inverse.change(gain, factor)
        self._sums[target] += weight * features
        self._images += factor * np.outer(error, gain)
        self._totals[target] += weight

    def _leverages(self, features: Array) -> Array:
        """Return x' P x of each row; shape (n,)."""
        leverages: Array = np.einsum("nd,nd->n", self._inverse.times(features), features)
        return leverages


class LiveRidge(LeastSquares):
    """Least squares onto one-hot targets with a free bias; the loss of `adapters.families.ridge`.

    With s = T 1 and p = P s, the normal equations of weight and bias b come down to one scalar:
    b = (Y' W 1 - Q' s) / (n - s' p), weight = Q - p b', where n = 1' W 1.
    """

    def solution(self) -> tuple[Array, Array]:
        """Return weight (classes, features) and bias (classes,)."""
        total, image = self._sums.sum(axis=0), self._images.sum(axis=0)
        bias = (self._totals - self._images @ total) / (self._totals.sum() - total @ image)
        return self._images - bias[:, None] * image, bias

    def _without_each(self, features: Array, targets: Indices, weights: Array) -> Array:
        """Return logits (n, classes), each by a model without the example.

        The residual is divided by one minus w h (PRESS; Allen 1974, Technometrics 16:125), where
        the leverage h = x' P x + (1 - x' p)^2 / (n - s' p) holds the intercept's share.
        """
        total, image = self._sums.sum(axis=0), self._images.sum(axis=0)
        intercept = (1 - features @ image) ** 2 / (self._totals.sum() - total @ image)
        slack = 1 - weights * (self._leverages(features) + intercept)
        weight, bias = self.solution()
        one_hot = np.eye(len(bias))[targets]
        residual = one_hot - features @ weight.T - bias
        logits: Array = one_hot - residual / np.maximum(slack, MIN_SLACK)[:, None]
        return logits

    def _without_all(self, features: Array, targets: Indices, weights: Array) -> Array:
        """Return logits (n, classes) by the model without all of these examples.

        With H the block of the hat matrix, the intercept's share included, the residuals of the
        examples are (I - H W)^-1 times what they were (Cook and Weisberg 1982, Residuals and
        Influence in Regression, section 3.6).
        """
        total, image = self._sums.sum(axis=0), self._images.sum(axis=0)
        apart = 1 - features @ image
        hat = self._inverse.times(features) @ features.T
        hat += np.outer(apart, apart) / (self._totals.sum() - total @ image)
        weight, bias = self.solution()
        one_hot = np.eye(len(bias))[targets]
        residual = one_hot - features @ weight.T - bias
        logits: Array = one_hot - np.linalg.solve(np.eye(len(hat)) - hat * weights, residual)
        return logits


class LiveLDA(LeastSquares):
    """Gaussian classes with one shared covariance; the model of `adapters.families.lda`.

    The scatter within classes plus the penalty is S = P^-1 - T D^-1 T', D = diag(summed weights).
    By Woodbury S^-1 T D^-1 = Q F^-1 with F = D - T' Q, of shape (classes, classes), so with
    covariance S / n: weight = n F^-1 Q' and, as T' Q = D - F, the classes' mean mu_c gives
    mu_c' weight_c = n ((F^-1)_cc - 1 / D_cc). That is measured from the features' origin; measured
    from their mean m, all weights are less by the mean weight v, and biases more by m' v / 2.
    """

    def solution(self) -> tuple[Array, Array]:
        """Return weight (classes, features) and bias (classes,)."""
        inverse, totals = self._inverted(), self._totals
        total = totals.sum()
        squares = total * (np.diagonal(inverse) - 1 / totals)
        weight = total * (inverse @ self._images)
        shared = totals @ weight / total
        bias = np.log(totals / total) - squares / 2
        bias += float(self._sums.sum(axis=0) @ shared) / (2 * total)
        return weight - shared, bias

    def _without_each(self, features: Array, targets: Indices, weights: Array) -> Array:
        """Return logits (n, classes), each by a model without the example.

        Without x of class c with weight w, F becomes F - a r r' where r = e_c - Q' x,
        a = w / (1 - w x' P x), and Q' x becomes Q' x - a (x' P x) r; Sherman and Morrison again.
        """
        rows, inverse = np.arange(len(targets)), self._inverted()
        leverages = self._leverages(features)
        share = (weights / np.maximum(1 - weights * leverages, MIN_SLACK))[:, None]
        scores = features @ self._images.T
        error = -scores
        error[rows, targets] += 1
        scores -= share * leverages[:, None] * error
        solved = error @ inverse
        slack = 1 - share * np.sum(error * solved, axis=1, keepdims=True)
        share = share / np.maximum(slack, MIN_SLACK)
        scores = scores @ inverse + share * np.sum(scores * solved, axis=1, keepdims=True) * solved
        totals = np.tile(self._totals, (len(rows), 1))
        totals[rows, targets] -= weights
        total = totals.sum(axis=1, keepdims=True)
        totals = np.where(totals > 0, totals, 1.0)  # where the class is gone, the row is of no use
        squares = np.diagonal(inverse) + share * solved**2 - 1 / totals
        logits: Array = total * (scores - squares / 2) + np.log(totals / total)
        return logits

    def _without_all(self, features: Array, targets: Indices, weights: Array) -> Array:
        """Return logits (n, classes) by the model without all of these examples.

        With R = Y - X Q and E = (I - X P X' W)^-1 R, F becomes F - R' W E, and X Q becomes Y - E
        (Woodbury's identity; one example at a time it is what is said above).
        """
        one_hot = np.eye(len(self._totals))[targets]
        residual = one_hot - features @ self._images.T
        hat = self._inverse.times(features) @ features.T
        errors = np.linalg.solve(np.eye(len(hat)) - hat * weights, residual)
        overlap = np.diag(self._totals) - self._sums @ self._images.T
        inverse = np.linalg.inv(overlap - residual.T @ (errors * weights[:, None]))
        totals = self._totals - weights @ one_hot
        total = totals.sum()
        squares = np.diagonal(inverse) - 1 / totals
        scores = (one_hot - errors) @ inverse
        logits: Array = total * (scores - squares / 2) + np.log(totals / total)
        return logits

    def _inverted(self) -> Array:
        """Return F^-1 of shape (classes, classes)."""
        return np.linalg.inv(np.diag(self._totals) - self._sums @ self._images.T)
