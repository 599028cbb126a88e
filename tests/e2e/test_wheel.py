"""The wheel's client beside the oldest and the newest of what it allows, against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest

from tests.e2e.processes import ROOT, Running

pytestmark = pytest.mark.long

UNREACHABLE = (
    "error sending request",
    "failed to lookup address",
    "dns error",
    "Network connectivity",
)
"""What uv says where there is no package index."""

SCRIPT = """
import sys
import trunkline
from trunkline import Client, errors

address, tenant = sys.argv[1:]
assert "site-packages" in trunkline.__file__, trunkline.__file__
with Client(address, timeout=60) as client:
    backbone = next(one for one in client.backbones() if one.modality == "text")
    head = client.create_head(f"{tenant}/mood", backbone.name)
    texts = ["good", "fine", "bad", "poor"]
    client.add_examples(f"{tenant}/mood", list(zip(texts, ["up", "up", "down", "down"])))
    assert client.train(f"{tenant}/mood").version == 1
    rows = client.predict(f"{tenant}/mood", texts)
    assert [row.label for row in rows] == ["up", "up", "down", "down"], rows
    assert client.embed(tenant, texts[:1], backbone.name)[0].vector
    try:
        client.get_head(f"{tenant}/none")
    except errors.NotFound as error:
        assert error.field and error.request_id, vars(error)  # google.rpc details
    else:
        raise AssertionError("no error")
"""


def uv(*arguments: str | Path) -> None:
    command = [sys.executable, "-m", "uv", *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode and any(words in done.stderr for words in UNREACHABLE):
        pytest.skip(f"no package index can be reached: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


def lower_bounds() -> dict[str, str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [text.split(",")[0].split(">=") for text in project["dependencies"]]
    return dict(named)


@pytest.mark.parametrize("resolution", ["lowest-direct", "highest"])
def test_client_works_beside_the_oldest_and_the_newest_that_it_allows(
    resolution: str, wheel: Path, server: Running, tenant: str, tmp_path: Path
) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    uv("venv", "--python", sys.executable, tmp_path / "venv")
    # Only what is named directly is taken at its lower bound: not what that needs in turn.
    uv("pip", "install", "--python", python, "--resolution", resolution, "-r", "pyproject.toml")
    uv("pip", "install", "--python", python, "--no-deps", wheel)
    (packages,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    installed = {
        found.name.lower(): found.version for found in metadata.distributions(path=[str(packages)])
    }
    assert not {"bentoml", "numpy", "pydantic", "torch"} & installed.keys()
    bounds = lower_bounds()
    if resolution == "lowest-direct":
        for name in ("grpcio", "protobuf"):
            assert installed[name] == bounds[name]
    run(tmp_path, python, "-W", "error", "-c", SCRIPT, server.grpc, tenant)
    (tmp_path / "table.csv").write_text("text,label\ngood,up\nfine,up\nbad,down\npoor,down\n")
    program = (python, "-W", "error", "-m", "trunkline", "--server", server.grpc)
    run(tmp_path, *program, "train", f"{tenant}/other", "table.csv")
    assert "log-loss" in run(tmp_path, *program, "report", f"{tenant}/other")
    assert "mood" in run(tmp_path, *program, "heads", "list", tenant)


def run(folder: Path, *command: str | Path) -> str:
    done = subprocess.run(
        list(map(str, command)),
        cwd=folder,  # not the checkout, whose client would be imported
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"]},
    )
    assert done.returncode == 0, f"{command}\n{done.stderr}"
    assert "Warning" not in done.stderr
    return done.stdout
