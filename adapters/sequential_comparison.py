"""Compares two classifiers while their scores come in; valid whenever it is looked at."""

from __future__ import annotations

import math

import numpy as np

from adapters.errors import InvalidArgument

BETS = 64
"""Alternatives in the mixture. More change nothing that could be noticed."""


class PairedTest:
    """An anytime-valid sign test on the examples that exactly one of the two gets right.

    If the live copy is no better than the active version, it is the one that is right on such an
    example with probability at most 1/2, whatever came before. Against every p in (1/2, 1) the
    product of 2 p for each of its wins and 2 (1 - p) for each of its losses is then a nonnegative
    supermartingale that starts at 1, and so is the mean of these over p: an e-process. By
    Ville's inequality (Ville 1939, Étude critique de la notion de collectif) it ever reaches
    1 / error_rate with probability at most error_rate, however often one looks and whenever one
    stops (Ramdas, Grünwald, Vovk and Shafer 2023, Statistical Science 38:576). The other direction
    is the same with wins and losses exchanged. The order of the scores does not matter.

    Args:
        error_rate: highest probability of ever calling the copy better (or, separately, worse) when
            it is not; above 0 and below 1.

    Raises:
        InvalidArgument: if the error rate is out of range.
    """

    def __init__(self, error_rate: float) -> None:
        if not 0 < error_rate < 1:
            raise InvalidArgument(
                f"error_rate must be above 0 and below 1, is {error_rate}",
                field="error_rate",
                limit="above 0, below 1",
                value=error_rate,
            )
        self._threshold = 1 / error_rate
        self._wins = self._losses = 0

    def observe(self, active_right: bool, live_right: bool) -> None:
        """Take in whether each of the two was right about one example neither had learned."""
        self._wins += live_right and not active_right
        self._losses += active_right and not live_right

    @property
    def evidence_better(self) -> float:
        """E-value against "the live copy is no better"; 1 at the start."""
        return _evidence(self._wins, self._losses)

    @property
    def evidence_worse(self) -> float:
        """E-value against "the live copy is no worse"; 1 at the start."""
        return _evidence(self._losses, self._wins)

    @property
    def better(self) -> bool:
        """Whether the live copy is shown to be better, at the error rate, as of now."""
        return self.evidence_better >= self._threshold

    @property
    def worse(self) -> bool:
        """Whether the live copy is shown to be worse, at the error rate, as of now."""
        return self.evidence_worse >= self._threshold


_CHANCES = 0.5 + (np.arange(BETS) + 0.5) / (2 * BETS)
_LARGEST = 700.0
"""Logarithm of the largest ratio that is told apart; more would overflow."""
_WIN, _LOSS = np.log(2 * _CHANCES), np.log(2 * (1 - _CHANCES))


def _evidence(wins: int, losses: int) -> float:
    """Return the mean likelihood ratio of all alternatives against a fair coin."""
    ratios = wins * _WIN + losses * _LOSS
    largest = float(ratios.max())
    return math.exp(min(largest, _LARGEST)) * float(np.exp(ratios - largest).mean())
