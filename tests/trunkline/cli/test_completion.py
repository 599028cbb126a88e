"""What a shell offers to complete the command line with."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-m", "trunkline")


def printed(tmp_path: Path, *command: str, **environment: str) -> str:
    """What a command prints, away from the checkout's folder."""
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return ended.stdout


@pytest.mark.parametrize(
    ("shell", "words"),
    [
        ("bash", "complete -o nosort -F _trunkline_completion trunkline"),
        ("zsh", "#compdef trunkline"),
        ("fish", "complete --no-files --command trunkline"),
    ],
)
def test_every_shell_is_given_a_script(shell: str, words: str, tmp_path: Path) -> None:
    script = printed(tmp_path, *COMMAND, _TRUNKLINE_COMPLETE=f"{shell}_source")
    assert words in script


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes_commands_options_and_their_values(tmp_path: Path) -> None:
    on_path = tmp_path / "trunkline"
    on_path.write_text(f'#!/bin/sh\nexec {sys.executable} -m trunkline "$@"\n')
    on_path.chmod(0o755)
    ask = """
    eval "$(_TRUNKLINE_COMPLETE=bash_source trunkline)"
    offer() {
        COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
        _trunkline_completion trunkline
        echo "${COMPREPLY[*]}"
    }
    offer trunkline hea
    offer trunkline heads ver
    offer trunkline train --class-
    offer trunkline train --class-weight ba
    """
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    assert printed(tmp_path, "bash", "-c", ask, PATH=path).splitlines() == [
        *("heads", "versions", "--class-weight", "balanced")
    ]
