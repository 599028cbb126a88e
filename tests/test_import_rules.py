"""Who may import whom: the contracts of pyproject.toml, and what importing the client drags in."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )


def test_every_import_contract_is_kept() -> None:
    lint = run(str(Path(sys.executable).with_name("lint-imports")), "--no-logo")
    assert lint.returncode == 0, lint.stdout + lint.stderr
    assert " 0 broken" in lint.stdout


@pytest.mark.parametrize("module", ["trunkline", "trunkline.cli"])
def test_importing_the_client_loads_nothing_of_the_server(module: str) -> None:
    """The contracts allow `trunkline.cli` to import the server: here it shows that it waits."""
    servers = {"adapters", "bentoml", "models", "numpy", "service", "sqlalchemy", "torch"}
    loaded = run(
        sys.executable, "-c", f"import sys, {module}; print(*sorted({{*sys.modules}} & {servers}))"
    )
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.strip() == ""


def test_the_wheel_holds_the_client_alone(tmp_path: Path) -> None:
    build = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path))
    assert build.returncode == 0, build.stdout + build.stderr
    (wheel,) = tmp_path.glob("trunkline-*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert {"trunkline/__init__.py", "trunkline/py.typed", "trunkline/v1/heads_pb2.py"} <= names
    assert {name.split("/")[0] for name in names} == {"trunkline"}
