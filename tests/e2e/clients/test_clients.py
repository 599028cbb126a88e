"""Other servers' clients, unmodified, each in the environment that `make clients` makes of it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.e2e.processes import ROOT, Running
from tests.e2e.samples import Labelled

ENVIRONMENTS = ROOT / "build" / "clients"
NEEDED = "CLIENT_TESTS"
"""Variable with which a missing environment fails a test that would be skipped."""

pytestmark = pytest.mark.long


@pytest.fixture
def image(tmp_path: Path, photos: Labelled) -> Path:
    path = tmp_path / "new.jpg"
    path.write_bytes(photos[0][0])
    return path


def python_of(client: str) -> Path:
    python = ENVIRONMENTS / client / "bin" / "python"
    if not python.exists():
        message = f"there is no environment of {client}: run make clients"
        if os.environ.get(NEEDED):
            pytest.fail(message)
        pytest.skip(message)
    return python


def run(client: str, *arguments: str) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HF_HUB_OFFLINE": "0", "HOME": "/nonexistent"}
    ended = subprocess.run(
        [str(python_of(client)), *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


@pytest.mark.usefixtures("text_head", "image_head")
@pytest.mark.parametrize(
    ("installed", "program", "given"),
    [
        ("tritonclient", "tritonclient_http", ["host", "image"]),
        ("tritonclient", "tritonclient_grpc", ["grpc", "image"]),
        ("kserve", "kserve_client", ["rest", "grpc", "image"]),
        ("openai", "openai_client", ["rest"]),
        ("huggingface_hub", "huggingface_client", ["rest", "image"]),
    ],
)
def test_client_gets_what_it_asks_for(
    server: Running, image: Path, installed: str, program: str, given: list[str]
) -> None:
    values = {
        "rest": server.rest,
        "host": server.rest.removeprefix("http://"),
        "grpc": server.grpc,
        "image": str(image),
    }
    path = Path(__file__).parent / "programs" / f"{program}.py"
    run(installed, str(path), *(values[name] for name in given))


PAGES = {
    "tritonclient": "tritonclient",
    "kserve": "kserve",
    "openai": "openai",
    "hugging-face": "huggingface_hub",
}


@pytest.mark.usefixtures("text_head", "image_head")
@pytest.mark.parametrize(("page", "installed"), PAGES.items())
def test_programs_of_its_page_run(server: Running, image: Path, page: str, installed: str) -> None:
    text = (ROOT / "docs" / "clients" / f"{page}.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert programs
    for program in programs:
        here = program.replace("http://127.0.0.1:3000", server.rest)
        here = here.replace("127.0.0.1:3000", server.rest.removeprefix("http://"))
        here = here.replace("127.0.0.1:50051", server.grpc).replace("acme/", "shared/")
        here = here.replace("shared/reviews", "shared/sentiment").replace("new.jpg", str(image))
        run(installed, "-c", here)
