"""Progress of a part, reported as progress of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from adapters.progress import within


def test_a_part_reports_shares_of_the_whole_and_keeps_phase_and_details() -> None:
    reports: list[tuple[float, str, Mapping[str, Any] | None]] = []

    def progress(share: float, phase: str, details: Mapping[str, Any] | None = None) -> None:
        reports.append((share, phase, details))

    part = within(within(progress, 0.2, 1.0), 0.5, 1.0)
    part(0.0, "reading")
    part(0.5, "fitting", {"epoch": 1})
    part(1.0, "done")
    assert [share for share, _, _ in reports] == pytest.approx([0.6, 0.8, 1.0])
    assert [report[1:] for report in reports] == [
        ("reading", None),
        ("fitting", {"epoch": 1}),
        ("done", None),
    ]
