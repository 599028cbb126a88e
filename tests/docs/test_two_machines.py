"""The commands of docs/two-machines.md, run in its order: a folder stands for each machine.

A block's first line says on which machine it is run, and whether it `serves`, or whether the last
command of it is `refused`; a block of text after it holds what is printed, with … for what differs.
Loopback, free ports and a certificate for 127.0.0.1 stand for the server's name, and a copy for
`scp`. Blocks marked `sh` install what is there already.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.docs.conftest import write_reviews
from tests.e2e.processes import ROOT, Running

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed"),
]

PAGE = ROOT / "docs" / "two-machines.md"
BLOCK = re.compile(
    r"^```bash (\w+)(?: (serves|refused))?\n(.*?)^```$(?:\s*^```text\n(.*?)^```$)?",
    re.DOTALL | re.MULTILINE,
)
SECONDS = 120
# What a shell has learned (`export`) is kept for the next block of its machine.
SHELL = "test ! -e .session || source ./.session\n{}\nexport -p | grep TRUNKLINE_ > .session\n"
SCP = '#!/bin/sh\nfor last; do :; done\nhost=${last#*@}\ncp "$1" ${3:+"$2"} "$SITE/${host%%-*}/"\n'


class Block(NamedTuple):
    machine: str
    kind: str
    code: str
    printed: str


class Site:
    """The machines of the page, and the server once it runs."""

    def __init__(self, folder: Path, cache_dir: Path) -> None:
        self.folder = folder
        self.server: Running | None = None
        tools = folder / "bin"
        tools.mkdir()
        trunkline = f'#!/bin/sh\nexec "{sys.executable}" -m trunkline "$@"\n'
        for name, text in (("trunkline", trunkline), ("scp", SCP)):
            (tools / name).write_text(text, encoding="utf-8")
            (tools / name).chmod(0o755)
        for machine in ("server", "ann", "ben"):
            (folder / machine).mkdir()
        write_reviews(folder / "ann" / "reviews.csv")
        self.environment = {
            **{name: value for name, value in os.environ.items() if "TRUNKLINE" not in name},
            "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "SITE": str(folder),
            "TRUNKLINE_CACHE_DIR": str(cache_dir),
        }
        self.environment.pop("XDG_CONFIG_HOME", None)

    def run(self, block: Block) -> None:
        code = self.here(block.code)
        if block.kind == "serves":
            command = ["bash", "-c", f"exec {code}"]
            self.server = Running.start(
                command, self.folder / "log", self.of("server"), self.folder / "server"
            ).wait_until_serving()
            return
        done = self.shell(block.machine, code)
        assert (done.returncode != 0) == (block.kind == "refused"), code + done.stdout + done.stderr
        assert matches(self.here(block.printed), done.stdout + done.stderr), (
            f"{block.code}\n{done.stdout}\n{done.stderr}"
        )

    def shell(self, machine: str, code: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", SHELL.format(code)],
            cwd=self.folder / machine,
            env=self.of(machine),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def of(self, machine: str) -> dict[str, str]:
        return {**self.environment, "HOME": str(self.folder / machine)}

    def here(self, text: str) -> str:
        """What the page says, for this one machine."""
        text = text.replace("--host 0.0.0.0", "--auth required --grpc-port 0 --rest-port 0")
        text = text.replace("DNS:models.example.org", "IP:127.0.0.1")
        if self.server is not None:
            at = self.server.grpc.removeprefix("grpcs://")
            text = text.replace("models.example.org:50051", at)
        if "ID-OF-" in text:
            for key in json.loads(self.shell("server", "trunkline keys list --json").stdout)[
                "keys"
            ]:
                name = f"ID-OF-{key['note'].upper()}"
                text = text.replace(name, key["name"].removeprefix("keys/"))
        return text


def matches(expected: str, printed: str) -> bool:
    """Whether these words stand there in this order; … stands for anything."""
    rest = " ".join(printed.split())
    for part in filter(None, map(str.strip, " ".join(expected.split()).split("…"))):
        _, found, rest = rest.partition(part)
        if not found:
            return False
    return True


@pytest.fixture
def site(tmp_path: Path, cache_dir: Path) -> Iterator[Site]:
    site = Site(tmp_path, cache_dir)
    try:
        yield site
    finally:
        if site.server is not None:
            site.server.close()


@pytest.mark.long
def test_two_colleagues_get_to_work_with_keys_over_tls(site: Site) -> None:
    blocks = [Block(*found) for found in BLOCK.findall(PAGE.read_text(encoding="utf-8"))]
    assert {block.machine for block in blocks} == {"server", "ann", "ben"}
    for block in blocks:
        site.run(block)
    assert site.server is not None
    assert "tlk_" not in site.server.log.read_text(encoding="utf-8")
    assert not [*site.folder.glob("ann/*.key"), *site.folder.glob("ben/*.key")]


def test_what_is_printed_is_compared() -> None:
    assert matches("a … c\n", "x\na  b\nc")
    assert not matches("a … d\n", "a b c")
