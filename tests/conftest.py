"""What holds for every test: nothing phones out, exports are shared, property tests repeat."""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from blake3 import blake3
from hypothesis import settings

if TYPE_CHECKING:
    from tests.postgres import Postgres

# Set before any test module imports the libraries that read them.
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
os.environ["GRPC_VERBOSITY"] = "ERROR"
os.environ["HF_HUB_OFFLINE"] = "1"
# Threads of OpenBLAS and OpenMP spin while they wait: on two busy cores that makes fits ten times
# slower, and tunings a hundred times.
os.environ["OMP_NUM_THREADS"] = "1"
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

# On shared machines a slow example is no failure; in CI the same examples run every time.
settings.register_profile("dev", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

ROOT = Path(__file__).parent.parent
EXPORTERS = ("torch", "torchvision", "onnx", "onnxscript", "timm", "transformers")


def _recipe() -> str:
    """A digest of the code and the libraries that export backbones."""
    hasher = blake3()
    for path in sorted((ROOT / "models").rglob("*.py")):
        hasher.update(path.read_bytes())
    hasher.update(" ".join(version(name) for name in EXPORTERS).encode())
    return hasher.hexdigest(length=8)


CACHE_DIR = ROOT / "build" / "backbones" / _recipe()
os.environ["TRUNKLINE_CACHE_DIR"] = str(CACHE_DIR)


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    """Where backbones are exported to, under what they are made from: once, until that changes."""
    CACHE_DIR.mkdir(parents=True, exist_ok=True)
    return CACHE_DIR


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """PostgreSQL, for databases of a test's own."""
    from tests.postgres import open_postgres  # not before the environment is set, above

    with open_postgres() as server:
        yield server


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with the files that wait for other processes, so that all cores end at about once."""
    costly = ("tuning", "e2e")
    items.sort(key=lambda item: all(item.get_closest_marker(name) is None for name in costly))
