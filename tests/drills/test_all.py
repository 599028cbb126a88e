"""All drills together: within seventeen minutes, and none that fails goes by unseen."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from drills import full_disk
from drills.__main__ import ALL_SECONDS, Options, attempt, judge_total, load, names, summary
from drills.common.drill import Drill, DrillModule, Outcome


class Module:
    """A drill that does as it is told."""

    PROMISE = "it holds"
    SECONDS = LONG_SECONDS = 100.0

    def __init__(self, error: Exception | None = None) -> None:
        self._error = error

    async def run(self, drill: Drill) -> Outcome:
        if self._error is not None:
            raise self._error
        return Outcome(f"slack {drill.slack:g}")


def test_bounds_of_all_drills_add_up_to_seventeen_minutes() -> None:
    seconds = {name: load(name).SECONDS for name in names()}
    assert len(seconds) == 10
    assert sum(seconds.values()) <= ALL_SECONDS == 17 * 60


def test_short_forms_that_take_longer_than_the_bound_of_all_are_violated(tmp_path: Path) -> None:
    options = Options(1, False, 2.0, tmp_path)
    assert judge_total(names(), 2040, options) == []
    assert judge_total(names(), 2041, options) == [
        "all drills took 2041 s together, more than 2040 s"
    ]
    assert judge_total(names()[1:], 2041, options) == []
    assert judge_total(names(), 2041, Options(1, True, 2.0, tmp_path)) == []


def test_skipped_drills_are_counted() -> None:
    verdicts = [
        Outcome("", skipped="no disk").verdict,
        Outcome("").verdict,
        Outcome("", violations=("lost",)).verdict,
    ]
    assert summary(verdicts, 61.2) == "of 3: 1 held, 1 violated, 1 skipped; 61 s"


async def test_drill_knows_its_slack_and_what_it_raises_is_a_violation(tmp_path: Path) -> None:
    options = Options(1, False, 3.0, tmp_path)

    async def outcome(module: DrillModule) -> Outcome:
        return await attempt(module, "any", options)

    assert await outcome(Module()) == Outcome("slack 3")
    failed = await outcome(Module(OSError("an error of the attack")))
    assert failed.violations == ("raised OSError('an error of the attack')",)
    assert failed.verdict == "violated"


@pytest.mark.parametrize("error", [OSError("reset"), subprocess.CalledProcessError(1, "check")])
async def test_error_amid_the_attack_on_a_full_disk_does_not_skip_it(
    error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Attack:
        def __init__(self, *_: object) -> None: ...

        async def run(self) -> None:
            raise error

    class Mounted:
        def __init__(self, *_: object) -> None: ...

        def __enter__(self) -> Path:
            return tmp_path

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(full_disk, "_Attack", Attack)
    monkeypatch.setattr(full_disk, "_mounted", Mounted)
    outcome = await attempt(full_disk, "full_disk", Options(1, False, 1.0, tmp_path))
    assert outcome.verdict == "violated"


async def test_full_disk_is_skipped_where_nothing_can_be_mounted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    outcome = await attempt(full_disk, "full_disk", Options(1, False, 1.0, tmp_path))
    assert outcome.verdict == "skipped"
    assert "only root mounts" in outcome.skipped
