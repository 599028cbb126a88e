"""The manifests of `deploy/kubernetes/`, read as they stand."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.processes import ROOT

FOLDER = ROOT / "deploy" / "kubernetes"
KUSTOMIZATIONS = sorted(FOLDER.rglob("kustomization.yaml"))
PATCHES = {
    path.parent / patch["path"]
    for path in KUSTOMIZATIONS
    for patch in yaml.safe_load(path.read_text()).get("patches", ())
}
FILES = sorted({*FOLDER.rglob("*.yaml")} - {*KUSTOMIZATIONS} - PATCHES)

Manifest = dict[str, Any]


def read(path: Path) -> list[Manifest]:
    """The documents of a file."""
    return list(yaml.safe_load_all(path.read_text()))


MANIFESTS = [manifest for path in FILES for manifest in read(path)]


def named(kind: str, name: str) -> Manifest:
    """The manifest of this kind and name."""
    (found,) = (
        manifest
        for manifest in MANIFESTS
        if (manifest["kind"], manifest["metadata"]["name"]) == (kind, name)
    )
    return found


def of_kind(*kinds: str) -> list[Manifest]:
    """The manifests of these kinds."""
    return [manifest for manifest in MANIFESTS if manifest["kind"] in kinds]


def pods() -> list[Manifest]:
    """The templates of all pods."""
    return [manifest["spec"]["template"] for manifest in of_kind("Deployment", "Job")]


def containers() -> Iterator[tuple[Manifest, Manifest]]:
    """Each container, and the pod that it is in."""
    for pod in pods():
        for container in pod["spec"]["containers"]:
            yield pod, container


def variables(container: Manifest) -> dict[str, str]:
    """The variables of a container; those of Secrets have none of their text."""
    found = {row["name"]: row.get("value", "") for row in container.get("env", ())}
    for source in container.get("envFrom", ()):
        found.update(named("ConfigMap", source["configMapRef"]["name"])["data"])
    return found
