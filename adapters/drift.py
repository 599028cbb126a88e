"""Detects that what a head sees is no longer what it learned."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

import numpy as np
import scipy.special
from numpy.typing import NDArray

from adapters.errors import InvalidArgument

MAX_WINDOW = 4096
"""Outcomes among which a change is dated at most; those before are too old to matter."""


class DriftDetector:
    """ADWIN on whether a head was right (Bifet and Gavaldà 2007, SDM, p. 443).

    ADWIN looks for two parts of the outcomes whose means differ by more than chance allows, after
    every outcome. It detects a change early, but does not locate it well: what it keeps reaches
    back far behind it. So the change is dated where the likelihood of two constant accuracies,
    before and after, is largest (Hinkley 1970, Biometrika 57:1), and ADWIN starts anew from there.
    A change is drift if accuracy fell; if it rose, the head has learned.

    Args:
        delta: confidence of ADWIN's comparisons; above 0 and below 1. Higher notices sooner and
            raises more false alarms.

    Raises:
        InvalidArgument: if delta is out of range.
    """

    def __init__(self, delta: float = 0.002) -> None:
        if not 0 < delta < 1:
            raise InvalidArgument.at(
                "delta", "delta must be above 0 and below 1, is {value}", "above 0, below 1", delta
            )
        self._delta = delta
        self._start(())

    def observe(self, right: bool) -> bool:
        """Take in whether the head was right about one example; returns whether drift is detected.

        Right after a detection, `window` is how many of the last outcomes came after the change.
        """
        self._outcomes.append(right)
        self._adwin.update(float(right))
        if not self._adwin.drift_detected:
            return False
        outcomes = np.array(self._outcomes, dtype=np.float64)
        change = _date(outcomes)
        before, after = outcomes[:change], outcomes[change:]
        self._start(after.tolist())
        return bool(after.mean() < before.mean())

    @property
    def window(self) -> int:
        """Outcomes since the last change, as far as is known."""
        return int(self._adwin.width)

    @property
    def accuracy(self) -> float | None:
        """Share of outcomes in the window that were right; None while it is empty."""
        return float(self._adwin.estimation) if self.window else None

    def _start(self, outcomes: Iterable[float]) -> None:
        # It brings scikit-learn along: more than half a second, for which no start should wait.
        from river.drift import ADWIN

        self._outcomes = deque(outcomes, maxlen=MAX_WINDOW)
        self._adwin = ADWIN(delta=self._delta, clock=1)
        for outcome in self._outcomes:
            self._adwin.update(outcome)


def _date(outcomes: NDArray[np.float64]) -> int:
    """Return where the likelihood is largest that the second part of the outcomes begins."""
    n = len(outcomes)
    sizes, right = np.arange(1, n), np.cumsum(outcomes)[:-1]
    likelihood = _log_likelihood(right, sizes)
    likelihood += _log_likelihood(outcomes.sum() - right, n - sizes)
    return 1 + int(likelihood.argmax())


def _log_likelihood(right: NDArray[np.float64], n: NDArray[np.intp]) -> NDArray[np.float64]:
    """Return the log-likelihood of `right` successes out of n under their own share."""
    share = right / n
    likelihood: NDArray[np.float64] = scipy.special.xlogy(right, share)
    likelihood += scipy.special.xlogy(n - right, 1 - share)
    return likelihood
