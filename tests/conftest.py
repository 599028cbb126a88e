"""What holds for every test: nothing phones out, exports are shared, property tests repeat."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# Set before any test module imports the libraries that read them.
os.environ["BENTOML_DO_NOT_TRACK"] = "True"
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

CACHE_DIR = Path(__file__).parent.parent / "build" / "backbones"
os.environ["TRUNKLINE_CACHE_DIR"] = str(CACHE_DIR)


@pytest.fixture(scope="session")
def cache_dir() -> Path:
    """Where the backbones are exported to, once for all tests and test runs."""
    CACHE_DIR.mkdir(parents=True, exist_ok=True)
    return CACHE_DIR
