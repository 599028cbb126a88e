"""Multinomial logistic regression."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.optimize
import scipy.special
from numpy.typing import NDArray

from adapters.calibration import calibrated_losses
from adapters.families.base import MIN_GAIN, Family, Start, Strength
from adapters.families.ridge import RidgeFit
from adapters.optimism import MOST_GROUPS, optimism
from adapters.problem import Problem

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

STEP = 10**0.5
"""Ratio of neighbouring strengths on the path."""

RIDGE_SHARE = 0.1
"""The path begins at this share of ridge's strength: its curvature is p (1 - p) of ridge's."""

HOPELESS = 1.05
"""A path whose loss is this many times a rival's is not followed: a step gains less than that."""

WEAKEST, STRONGEST = 1e-5, 10.0
"""Ends of the path in units of the problem's mean spectrum. Beyond the strong one nothing changes
but the size of the logits."""

CLEARLY_HOPELESS = 1.1
"""The same for a first, rough solution."""

ROUGH_TOLERANCE, PATH_TOLERANCE, HELD_OUT_TOLERANCE, FINAL_TOLERANCE = 1e-3, 1e-5, 1e-6, 1e-9
"""Shares of the objective that a last step gains. The folds of an estimate start from a solution
that has seen them: if their steps ended early, it would be too good. With these, its log-loss is
within 0.1 % of where it ends."""

MAX_STEPS = 500
MIN_CURVATURE = 1e-3


@dataclass(frozen=True)
class Logistic(Family):
    """Weighted multinomial cross-entropy plus `l2 / 2 * sum(weight ** 2)`; bias left free.

    All folds are solved at once with L-BFGS: their parameters are the columns of one matrix
    product, in the coordinates of the principal axes, preconditioned by the spectrum, which is
    proportional to a bound on the curvature of every fold (Böhning 1992, Ann. Inst. Stat. Math.
    44:197). The strength is chosen by the calibrated log-loss over folds, on a path that begins
    near ridge's strength and turns back where the loss rises. Each strength starts from the
    solutions of its neighbour, the first from ridge's without the same folds at its temperature;
    the folds of the estimate start from the solution of all, and that from the mean of the path's
    folds. So an earlier head, of any strength, decides nothing: iterations start from it only
    where the strength is given and there is no path. Folds are solved in float32, the head itself
    in float64.

    Cost: about 25 steps a strength of 4 n rank classes folds operations.
    """

    name: str = "logistic"

    def cost(self, n: int, rank: int, classes: int) -> float:
        return 25.0 * 8 * 5 * n * classes * (4.0 * rank + 60)

    def begin(self, problem: Problem, start: Start | None = None) -> LogisticFit:
        return LogisticFit(problem, start)


class LogisticFit:
    """Logistic regression on one problem; see `adapters.families.base.Fit`."""

    def __init__(self, problem: Problem, start: Start | None) -> None:
        self._problem = problem
        self._start = start
        self._folds_solver = Solver(problem, np.float32)
        self._path: dict[float, Array] = {}
        """Parameters of the comparison's folds at each strength that was tried, latest last."""
        self._whole: dict[float, Array] = {}
        """Parameters fitted to all rows."""

    def choose(self, report_share: Callable[[float], None], rival: float = math.inf) -> Strength:
        """Return the strongest penalty after which the calibrated log-loss hardly falls."""
        weakest, strongest = (share * self._problem.scale for share in (WEAKEST, STRONGEST))
        first = min(max(RIDGE_SHARE * self._ridge()[0], weakest), strongest)
        if rival < math.inf:
            self._follow(first, ROUGH_TOLERANCE)
            if self._path_loss(first) > CLEARLY_HOPELESS * rival:
                return Strength(first)
            self._follow(first, PATH_TOLERANCE)
        losses: dict[int, float] = {}

        def loss(step: int) -> float:
            if step not in losses:
                losses[step] = self._path_loss(first * STEP**-step)
                report_share(1 - 0.5 ** len(losses))
            return losses[step]

        best = 0
        while first * STEP ** -(best + 1) >= weakest and loss(best) <= HOPELESS * rival:
            if loss(best + 1) >= (1 - MIN_GAIN) * loss(best):
                break
            best += 1
        while first * STEP ** -(best - 1) <= strongest and loss(best) <= HOPELESS * rival:
            if loss(best - 1) > (1 + MIN_GAIN) * min(losses.values()):
                break
            best -= 1
        tried = [first * STEP**-step for step in sorted(losses)]
        return Strength(first * STEP**-best, self._optimism(tried))

    def held_out(self, l2: float | None, folds: Indices) -> Array:
        """Return logits of each example by the model without its fold; (n, classes)."""
        assert l2 is not None
        problem, solver = self._problem, self._folds_solver
        if folds is problem.comparison:
            parameters = self._along_path(l2)
        else:
            starts = np.repeat(self._fit_all(l2), int(folds.max()) + 1, axis=1)
            parameters = solver.solve(_training(folds), l2, HELD_OUT_TOLERANCE, starts)
        return solver.held_out(parameters, folds)[problem.originals]

    def solve(self, l2: float | None) -> tuple[Array, Array]:
        """Return weight and bias."""
        assert l2 is not None
        parameters = self._fit_all(l2)[:, 0]
        weight = self._problem.lift(parameters[:, :-1].T)
        return weight, parameters[:, -1] - weight @ self._problem.mean

    def _optimism(self, strengths: list[float]) -> float:
        """Return by how much choosing among these, from strong to weak, makes an estimate high."""
        problem = self._problem
        if problem.group_count > MOST_GROUPS:
            return 0.0
        some, folds = problem.scored, problem.comparison
        logits = np.stack([self.held_out(l2, folds)[some] for l2 in strengths])
        targets, groups = problem.example_targets[some], problem.example_groups[some]
        return optimism(logits, targets, groups, problem.seed, MIN_GAIN)

    def _path_loss(self, l2: float) -> float:
        problem = self._problem
        logits = self.held_out(l2, problem.comparison)[problem.scored]
        targets = problem.example_targets[problem.scored]
        return float(calibrated_losses(logits[None], targets)[1][0])

    def _along_path(self, l2: float) -> Array:
        """Return the parameters of the comparison's folds."""
        if l2 not in self._path:
            self._follow(l2, PATH_TOLERANCE)
        return self._path[l2]

    def _follow(self, l2: float, tolerance: float) -> None:
        """Solve the comparison's folds from where the path has got to, or from ridge's folds."""
        folds = self._problem.comparison
        if self._path:
            starts = next(reversed(self._path.values()))
        else:
            strength, temperature = self._ridge()
            starts = self._problem.shared(RidgeFit).solve_folds(strength, folds) / temperature
        self._path[l2] = self._folds_solver.solve(_training(folds), l2, tolerance, starts)

    def _fit_all(self, l2: float) -> Array:
        """Return parameters fitted to all rows."""
        if l2 not in self._whole:
            if l2 in self._path:
                start = self._path[l2].mean(axis=1, keepdims=True)
            else:
                start = self._parameters(self._begin_at())
            everything = np.ones((1, self._problem.rows), dtype=bool)
            solver = Solver(self._problem, np.float64)
            self._whole[l2] = solver.solve(everything, l2, FINAL_TOLERANCE, start)
        return self._whole[l2]

    def _begin_at(self) -> Start:
        """Return the given start, or ridge's solution at its temperature."""
        if self._start is None:
            l2, temperature = self._ridge()
            weight, bias = self._problem.shared(RidgeFit).solve(l2)
            self._start = Start(weight / temperature, bias / temperature)
        return self._start

    def _ridge(self) -> tuple[float, float]:
        """Return ridge's strength and temperature."""
        ridge = self._problem.shared(RidgeFit)
        l2 = ridge.choose(lambda share: None).l2
        assert l2 is not None
        scored = self._problem.scored
        predicted = ridge.leave_one_out(np.array([l2]), scored)
        targets = self._problem.example_targets[scored]
        return l2, float(calibrated_losses(predicted, targets)[0][0])

    def _parameters(self, start: Start) -> Array:
        """Return a start in the solver's parameters, of one fit."""
        rotated = self._problem.lower(start.weight).T
        centred = start.bias + start.weight @ self._problem.mean
        return np.hstack([rotated, centred[:, None]])[:, None, :]


def _training(folds: Indices) -> NDArray[np.bool_]:
    """Return which rows the fit without each fold learns from; (folds, rows)."""
    training: NDArray[np.bool_] = folds != np.arange(int(folds.max()) + 1)[:, None]
    return training


class Solver:
    """Fits many subsets of one problem at once.

    Parameters have the shape (classes, fits, rank + 1): weights along the principal axes, then the
    bias. The class axis leads, so that the softmax runs over whole planes.
    """

    def __init__(self, problem: Problem, precision: type[np.floating[Any]]) -> None:
        self._targets = problem.targets
        self._weights = problem.weights.astype(precision)
        ones = np.ones((problem.rows, 1))
        self._features = np.hstack([problem.coordinates, ones]).astype(precision)
        self._spectrum = np.append(problem.spectrum, problem.total)
        self._one_hot = np.ascontiguousarray(problem.one_hot.T.astype(precision))[:, None, :]

    def logits(self, parameters: Array) -> Array:
        """Return the scores of all rows under every fit; (classes, fits, rows)."""
        classes, fits, width = parameters.shape
        columns = parameters.reshape(classes * fits, width).astype(self._features.dtype)
        flat = columns @ self._features.T
        return flat.reshape(classes, fits, -1)

    def held_out(self, parameters: Array, folds: NDArray[np.intp]) -> Array:
        """Return the scores of each row under the fit of its own fold; (rows, classes)."""
        return self.logits(parameters)[:, folds, np.arange(len(self._targets))].T.astype(np.float64)

    def solve(
        self, training: NDArray[np.bool_], l2: float, tolerance: float, start: Array | None = None
    ) -> Array:
        """Minimise the summed objectives of all fits, which do not depend on one another.

        Args:
            training: of shape (fits, rows), which rows each fit learns from.
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
        mask = np.where(training, self._weights, self._weights.dtype.type(0))

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
        right = float(np.vdot(scores[self._targets, :, np.arange(len(self._targets))], mask.T))
        np.exp(scores, out=scores)
        total = scores.sum(axis=0)
        loss = float(np.vdot(np.log(total), mask)) - right
        scores /= total
        scores -= self._one_hot
        scores *= mask
        flat = scores.reshape(-1, scores.shape[2]) @ self._features
        return loss, flat.reshape(parameters.shape)
