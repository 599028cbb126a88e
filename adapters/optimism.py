"""By how much a choice among candidates makes the accuracy of the chosen one too high.

Whoever chooses among candidates by held-out predictions, and estimates the accuracy of the chosen
one from the same predictions, prefers the luckier ones. The bootstrap says how much: choose on
examples drawn with replacement, and look at the others (Tsamardinos, Greasidou and Borboudakis
2018, Machine Learning 107:1895). Both the one that is chosen by all examples and the one that is
chosen by a draw are looked at on the same others, so that their noise cancels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from adapters.calibration import calibrated_losses

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

DRAWS = 200

MOST_GROUPS = 2000
"""Of more independent examples than these it is not computed: docs/learning.md says what it is."""


def optimism(
    logits: Array, targets: Indices, groups: Indices, seed: int, min_gain: float = 0.0
) -> float:
    """Return the accuracy of the chosen candidate less what choosing so achieves on other examples.

    The choice is the first candidate whose log-loss after calibration is at most `1 + min_gain`
    times the lowest. Groups are drawn as a whole. Temperatures are those of all examples.

    Args:
        logits: held-out ones of k candidates, in the order of preference; shape (k, n, classes).
        targets: class indices of shape (n,).
        groups: the group of each example, of shape (n,).
        seed: of the draws.
        min_gain: share of the log-loss that a later candidate has to save.

    Returns:
        A share of the examples, 0 or more; 0 for one candidate or more than `MOST_GROUPS` groups.
    """
    own, sizes = np.unique(groups, return_inverse=True, return_counts=True)[1:]
    count = len(sizes)
    if len(logits) == 1 or not 1 < count <= MOST_GROUPS:
        return 0.0
    rows = np.arange(len(targets))
    scaled = logits / calibrated_losses(logits, targets)[0][:, None, None]
    scaled -= scaled.max(axis=2, keepdims=True)
    losses = np.log(np.exp(scaled).sum(axis=2)) - scaled[:, rows, targets]
    right = logits.argmax(axis=2) == targets
    loss_sums, right_sums = (
        np.stack([np.bincount(own, of_one, count) for of_one in values])
        for values in (losses, right.astype(np.float64))
    )

    def choose(times: NDArray[Any]) -> Indices:
        totals = loss_sums @ times
        chosen: Indices = np.argmax(totals <= (1 + min_gain) * totals.min(axis=0), axis=0)
        return chosen

    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, count, (DRAWS, count)) + count * np.arange(DRAWS)[:, None]
    times = np.bincount(drawn.ravel(), minlength=DRAWS * count).reshape(DRAWS, count).T
    others = (times == 0).astype(np.float64)
    achieved = right_sums @ others
    claimed = achieved[choose(np.ones((count, 1)))[0]].sum()
    lost = claimed - achieved[choose(times), np.arange(DRAWS)].sum()
    return max(0.0, float(lost / (sizes @ others).sum()))
