"""Code in the pages runs as it stands there.

Blocks marked `bash` and `python` are run in order, page by page, against one server; only the
default addresses are put in place of. Blocks marked `sh` start and stop servers, or need
tools that are not there, and are not run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.processes import ROOT, Running

pytestmark = pytest.mark.e2e

PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
BLOCK = re.compile(r"^```(bash|python)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
SECONDS = 300


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and code of each block that can be run."""
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


PAGES_WITH_CODE = [page for page in PAGES if blocks(page)]


def marks(page: str) -> list[pytest.MarkDecorator]:
    """Pages that fine-tune take long, but everybody begins with the README."""
    tunes = any(word in code for word in ("--fine-tune", "FineTune(") for _, code in blocks(page))
    if not tunes:
        return []
    return [pytest.mark.tuning if page == "README.md" else pytest.mark.long]


@pytest.mark.long
@pytest.mark.parametrize(
    "page",
    [pytest.param(page, marks=marks(page)) for page in PAGES_WITH_CODE],
)
def test_code_of_the_page_runs(page: str, server: Running, folder: Path) -> None:
    if shutil.which("curl") is None and "curl " in (ROOT / page).read_text(encoding="utf-8"):
        pytest.skip("curl is not installed")
    environment = _environment(server, folder / "bin")
    for language, code in blocks(page):
        code = code.replace("127.0.0.1:50051", server.grpc)
        code = code.replace("http://127.0.0.1:3000", server.rest)
        command = {
            "bash": ["bash", "-euo", "pipefail", "-c", code],
            "python": [sys.executable, "-c", code],
        }[language]
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{page}:\n{code}\n{done.stdout}\n{done.stderr}"


def test_the_readme_and_the_guides_have_code() -> None:
    assert {"README.md", "docs/quickstart.md", "docs/importing.md"} <= set(PAGES_WITH_CODE)


def _environment(server: Running, tools: Path) -> dict[str, str]:
    """As after `source .venv/bin/activate`, with the server at its address."""
    tools.mkdir()
    for name, arguments in (("trunkline", "-m trunkline "), ("python", "")):
        tool = tools / name
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments}"$@"\n', encoding="utf-8")
        tool.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TRUNKLINE_SERVER": server.grpc,
        "no_proxy": "127.0.0.1,localhost",
    }
