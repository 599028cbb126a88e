"""The gate that decides whether a live copy takes over, goes on or is dropped."""

from __future__ import annotations

from enum import StrEnum

from adapters.sequential_comparison import PairedTest
from service.live.comparison import Comparison


class Decision(StrEnum):
    """What is to become of a live copy.

    It goes on, is dropped, or may take over if a comparison on the stored examples allows it.
    """

    KEEP = "keep"
    DROP = "drop"
    COMPARE = "compare"


class PromotionGate:
    """Two conditions for taking over: better on the feedback, and no worse on what is stored.

    The first is a sequential test on feedback that both were scored on before it was learned, valid
    although it is looked at after every one. It can be misled by feedback that is wrong, or that
    comes only where the active version errs; the second cannot, as it looks at examples that
    somebody vouched for. It costs more, so it is tried only when the first holds, and where it
    failed again only after a fifth more feedback.
    """

    def __init__(self, error_rate: float) -> None:
        self.error_rate = error_rate
        self._test = PairedTest(error_rate)
        self.scored = 0
        self.active_right = 0
        self.live_right = 0
        self.near_copies = 0
        self.comparison: Comparison | None = None
        self._next_comparison = 0

    def observe(self, active_right: bool, live_right: bool, *, near_copy: bool = False) -> None:
        """Records whether each was right about feedback that neither had learned.

        A near-copy of earlier feedback says nothing that this had not said, so that it is no
        evidence for either.
        """
        if near_copy:
            self.near_copies += 1
        else:
            self._test.observe(active_right, live_right)
        self.scored += 1
        self.active_right += active_right
        self.live_right += live_right

    @property
    def evidence_better(self) -> float:
        """E-value against "the live copy is no better"."""
        return self._test.evidence_better

    @property
    def evidence_worse(self) -> float:
        """E-value against "the live copy is no worse"."""
        return self._test.evidence_worse

    @property
    def decision(self) -> Decision:
        """What the feedback says; a comparison is asked for when it is time for one."""
        if self._test.worse:
            return Decision.DROP
        if self._test.better and self.scored >= self._next_comparison:
            return Decision.COMPARE
        return Decision.KEEP

    @property
    def held_back(self) -> bool:
        """Whether it is better on the feedback, but failed on the stored examples."""
        return self._test.better and self.comparison is not None and not self.comparison.passed

    def record(self, comparison: Comparison) -> bool:
        """Records a comparison on the stored examples; returns whether the copy may take over."""
        self.comparison = comparison
        self._next_comparison = self.scored + max(10, self.scored // 5)
        return comparison.passed
