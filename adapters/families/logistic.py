"""Multinomial logistic regression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import NDArray

from adapters.calibration import fit_temperature, log_loss
from adapters.families.base import MIN_GAIN, Progress, Solution, cross_validation
from adapters.families.ridge import LeaveOneOut, choose_strength
from adapters.folds import fold_count, stratified_folds
from adapters.problem import Problem

Array = NDArray[np.float64]

STRENGTHS = np.logspace(0.5, -4, 10)
"""Strengths that are tried from strong to weak, in units of the problem's mean spectrum."""

RIDGE_SHARE = 0.3
"""The path goes on to this share of ridge's strength in any case: its curvature is p (1 - p) of
ridge's, and signal along axes of little variance shows late."""

PATH_FOLDS = 5

PATH_TOLERANCE, HELD_OUT_TOLERANCE, FINAL_TOLERANCE = 1e-5, 1e-6, 1e-9
MAX_STEPS = 500
MIN_CURVATURE = 1e-3


@dataclass(frozen=True)
class Logistic:
    """Multinomial cross-entropy plus the penalty; bias left free.

    All folds are solved at once with L-BFGS: their parameters are the columns of one matrix
    product, in the coordinates of the principal axes, preconditioned by the spectrum, which is
    proportional to a bound on the curvature of every fold (Böhning 1992, Ann. Inst. Stat. Math.
    44:197). Solutions start where those of the next stronger penalty ended. The strength is chosen
    by the calibrated log-loss over 5 stratified folds; held-out logits at that strength then come
    from more folds (`fold_count`), because a model of few examples loses much with every one that
    is held back. Folds are solved in float32, the head itself in float64.

    Cost: about 25 steps a strength of 4 n rank classes folds operations.
    """

    name: str = "logistic"

    def cost(self, n: int, rank: int, classes: int) -> float:
        """Return the floating point operations `solve` needs, to the order of magnitude."""
        return 25.0 * 8 * PATH_FOLDS * n * classes * (4.0 * rank + 60)

    def solve(self, problem: Problem, l2: float | None, progress: Progress) -> Solution:
        """Fit with L-BFGS; see `Family.solve`."""
        folds_solver = Solver(problem, np.float32)
        if l2 is None:
            l2, start = _choose(problem, folds_solver, lambda done: progress(0.6 * done))
        else:
            start = None
        everything = np.ones((1, problem.n), dtype=bool)
        whole = Solver(problem, np.float64).solve(everything, l2, FINAL_TOLERANCE, start)
        progress(0.7)
        count = fold_count(problem.n, problem.rank, problem.classes)
        held_out = _out_of_fold(problem, folds_solver, count, l2, whole)
        progress(1.0)
        weight, bias = whole[:, 0, :-1], whole[:, 0, -1]
        return Solution(
            problem.weight(weight.T), bias, l2, held_out, cross_validation(count, problem.n)
        )


def _choose(problem: Problem, solver: Solver, progress: Progress) -> tuple[float, Array]:
    """Return a strength, and the mean of the parameters fitted with it on the training parts.

    Taken is the strongest penalty after which the calibrated log-loss of the folds hardly falls.
    """
    count = min(PATH_FOLDS, problem.n)
    folds = stratified_folds(problem.targets, count, problem.seed)
    training = folds != np.arange(count)[:, None]
    path = STRENGTHS * problem.scale
    parameters, temperature = None, None
    enough = RIDGE_SHARE * choose_strength(LeaveOneOut(problem), lambda done: None)
    lowest, chosen, start = np.inf, 0.0, np.empty(0)
    for step, strength in enumerate(path.tolist()):
        parameters = solver.solve(training, strength, PATH_TOLERANCE, parameters)
        logits = solver.held_out(parameters, folds)
        temperature = fit_temperature(logits, problem.targets, start=temperature)
        loss = log_loss(logits, problem.targets, temperature)
        progress((step + 1) / len(path))
        if loss < (1 - MIN_GAIN) * lowest:
            lowest, chosen, start = loss, strength, parameters
        elif strength <= enough:
            break
    return chosen, start.mean(axis=1, keepdims=True)


def _out_of_fold(problem: Problem, solver: Solver, count: int, l2: float, start: Array) -> Array:
    """Return logits of shape (n, classes), each by a model fitted without the example's fold."""
    folds = stratified_folds(problem.targets, count, problem.seed)
    training = folds != np.arange(count)[:, None]
    starts = np.repeat(start, count, axis=1)
    parameters = solver.solve(training, l2, HELD_OUT_TOLERANCE, starts)
    return solver.held_out(parameters, folds)


class Solver:
    """Fits many subsets of one problem at once.

    Parameters have the shape (classes, fits, rank + 1): weights along the principal axes, then the
    bias. The class axis leads, so that the softmax runs over whole planes.
    """

    def __init__(self, problem: Problem, precision: type[np.floating[Any]]) -> None:
        self._n = n = problem.n
        self._targets = problem.targets
        scores = problem.axes * np.sqrt(problem.spectrum)
        self._features = np.hstack([scores, np.ones((n, 1))]).astype(precision)
        self._spectrum = np.append(problem.spectrum, n)
        self._one_hot = np.ascontiguousarray(problem.one_hot.T.astype(precision))[:, None, :]

    def logits(self, parameters: Array) -> Array:
        """Return the scores of all examples under every fit; (classes, fits, n)."""
        classes, fits, width = parameters.shape
        columns = parameters.reshape(classes * fits, width).astype(self._features.dtype)
        flat = columns @ self._features.T
        return flat.reshape(classes, fits, -1)

    def held_out(self, parameters: Array, folds: NDArray[np.intp]) -> Array:
        """Return the scores of each example under the fit of its own fold; (n, classes)."""
        return self.logits(parameters)[:, folds, np.arange(self._n)].T.astype(np.float64)

    def solve(
        self, training: NDArray[np.bool_], l2: float, tolerance: float, start: Array | None = None
    ) -> Array:
        """Minimise the summed objectives of all fits, which do not depend on one another.

        Args:
            training: of shape (fits, n), which examples each fit learns from.
            l2: strength of the penalty.
            tolerance: the solver stops when a step improves the sum by less than this share.
            start: parameters to start from, zero if None.
        """
        shape = (len(self._one_hot), len(training), len(self._spectrum))
        penalty = np.full(shape[2], l2)
        penalty[-1] = 0.0
        origin = np.zeros(shape) if start is None else start
        # In these units the Hessian is close to the identity.
        units = np.sqrt(self._curvature(origin) * self._spectrum + penalty)
        mask = training.astype(self._features.dtype)

        def objective(flat: Array) -> tuple[float, Array]:
            parameters = flat.reshape(shape) / units
            loss, gradient = self._loss(parameters, mask)
            shrunk = penalty * parameters
            loss += 0.5 * float(np.vdot(shrunk, parameters))
            return loss, ((gradient + shrunk) / units).ravel()

        result = scipy.optimize.minimize(
            objective,
            (origin * units).ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"ftol": tolerance, "gtol": 1e-4, "maxiter": MAX_STEPS, "maxcor": 8},
        )
        solved: Array = result.x.reshape(shape) / units
        return solved

    def _curvature(self, parameters: Array) -> float:
        """Return the mean of p (1 - p), the weight of an example in the Hessian."""
        probabilities = scipy.special.softmax(self.logits(parameters), axis=0)
        return max(float(np.mean(probabilities * (1 - probabilities))), MIN_CURVATURE)

    def _loss(self, parameters: Array, mask: Array) -> tuple[float, Array]:
        """Return the summed cross-entropy and its gradient."""
        scores = self.logits(parameters)
        scores -= scores.max(axis=0)
        right = float(np.vdot(scores[self._targets, :, np.arange(self._n)], mask.T))
        np.exp(scores, out=scores)
        total = scores.sum(axis=0)
        loss = float(np.vdot(np.log(total), mask)) - right
        scores /= total
        scores -= self._one_hot
        scores *= mask
        flat = scores.reshape(-1, scores.shape[2]) @ self._features
        return loss, flat.reshape(parameters.shape)
