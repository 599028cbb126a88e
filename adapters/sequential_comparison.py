"""Compares two classifiers while their scores come in; valid whenever it is looked at."""

from __future__ import annotations

import math

import numpy as np

from adapters.errors import InvalidArgument

BETS = 64
"""Alternatives in the mixture. More change nothing that could be noticed."""

PATIENCE = 10
"""Decides when capital begins to bet: before the j-th bet (from 0) one part in j + 10 of what has
not begun. A copy that is better only after n bets is found out nearly as soon as if the test began
there: what has to be won more is a factor of some (n / 10)**2, however the first n went."""


class PairedTest:
    """An anytime-valid sign test on the examples that exactly one of the two gets right.

    If the live copy is no better than the active version, it is the one that is right on such an
    example with probability at most 1/2, whatever came before. Who bets on p in (1/2, 1) multiplies
    a capital by 2 p for each of its wins and by 2 (1 - p) for each of its losses, which does not
    let it grow on average. Neither does spreading the capital over many p (nearer to 1/2 more
    often, as most gains are small: with density in proportion to 1 - p), and letting parts of it
    begin later: a copy is hardly better at first, and what bets lose then would weigh down what
    they win when it is (Shin, Ramdas and Rinaldo 2023, https://arxiv.org/abs/2203.03532, whose
    starting times have weights here that sum to 1). So the capital, what has not begun included, is
    a nonnegative supermartingale that starts at 1, an e-process: by Ville's inequality (Ville 1939,
    Étude critique de la notion de collectif) it ever reaches 1 / error_rate with probability at
    most error_rate, however often one looks and whenever one stops (Ramdas, Grünwald, Vovk and
    Shafer 2023, Statistical Science 38:576). It is the mean likelihood ratio over all starting
    times and alternatives. The other direction is the same with wins and losses exchanged.

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
        self._better, self._worse = _Capital(), _Capital()

    def observe(self, active_right: bool, live_right: bool) -> None:
        """Take in whether each of the two was right about one example neither had learned."""
        if active_right != live_right:
            self._better.bet(won=live_right)
            self._worse.bet(won=active_right)

    @property
    def evidence_better(self) -> float:
        """E-value against "the live copy is no better"; 1 at the start."""
        return self._better.evidence

    @property
    def evidence_worse(self) -> float:
        """E-value against "the live copy is no worse"; 1 at the start."""
        return self._worse.evidence

    @property
    def better(self) -> bool:
        """Whether the live copy is shown to be better, at the error rate, as of now."""
        return self.evidence_better >= self._threshold

    @property
    def worse(self) -> bool:
        """Whether the live copy is shown to be worse, at the error rate, as of now."""
        return self.evidence_worse >= self._threshold


_CHANCES = 0.5 + (np.arange(BETS) + 0.5) / (2 * BETS)
_SHARES = (1 - _CHANCES) / np.sum(1 - _CHANCES)
_LARGEST = 700.0
"""Logarithm of the largest evidence that is told apart; more would overflow."""


class _Capital:
    """What was made of 1 by bets on the alternatives, as parts of itself and its logarithm."""

    def __init__(self) -> None:
        self._logarithm = 0.0
        self._count = 0
        self._waiting = 1.0
        self._betting = np.zeros(BETS)

    @property
    def evidence(self) -> float:
        return math.exp(min(self._logarithm, _LARGEST))

    def bet(self, *, won: bool) -> None:
        begins = self._waiting / (self._count + PATIENCE)
        waiting = self._waiting - begins
        betting = (self._betting + begins * _SHARES) * 2 * (_CHANCES if won else 1 - _CHANCES)
        total = waiting + float(betting.sum())
        self._count += 1
        self._logarithm += math.log(total)
        self._waiting, self._betting = waiting / total, betting / total
