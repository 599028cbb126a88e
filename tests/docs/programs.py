"""Runs the programs of `examples/` as a person does, from a checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.e2e.processes import ROOT


def output_of(program: Path, *arguments: str, folder: Path | None = None) -> str:
    """What a program prints; fails the test if it fails."""
    done = subprocess.run(
        [sys.executable, str(program), *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout
