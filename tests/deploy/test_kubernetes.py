"""The manifests are what Kubernetes takes, and speak of what there is."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import promql_parser
import pytest
import yaml

from service.config import ServerSettings, StandaloneExtractorSettings
from service.config.extractor_settings import ExtractorSettings
from service.metrics import Metrics
from service.stopping import CLOSE_SECONDS
from tests.deploy.manifests import (
    FILES,
    FOLDER,
    KUSTOMIZATIONS,
    MANIFESTS,
    PATCHES,
    Manifest,
    containers,
    named,
    of_kind,
    pods,
    read,
    variables,
)
from tests.e2e.processes import ROOT

OTHERS = ("keda.sh/", "monitoring.coreos.com/")
"""Kinds that operators add to a cluster; Kubernetes has no schemas of theirs."""
NOT_YET: set[str] = set()
"""Settings that servers on one store have."""
PAGE = (ROOT / "docs" / "kubernetes.md").read_text()


def name_of(value: object) -> str:
    if isinstance(value, Path):
        return str(value.relative_to(FOLDER))
    assert isinstance(value, dict)
    return f"{value['kind']}-{value['metadata']['name']}"


@pytest.mark.parametrize("version", ["1.30", "1.37"])
@pytest.mark.parametrize("manifest", MANIFESTS, ids=name_of)
def test_every_manifest_has_the_form_that_is_published(manifest: Manifest, version: str) -> None:
    if not manifest["apiVersion"].startswith(OTHERS):
        kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_field_would_be_told() -> None:
    servers = dict(named("Deployment", "trunkline-servers"))
    servers["spec"] = {**servers["spec"], "replica": 3}
    with pytest.raises(kubernetes_validate.ValidationError, match="replica"):
        kubernetes_validate.validate(servers, "1.30", strict=True)


@pytest.mark.parametrize("path", KUSTOMIZATIONS, ids=name_of)
def test_every_kustomization_leads_to_what_is_there(path: Path) -> None:
    kustomization = yaml.safe_load(path.read_text())
    assert set(kustomization) <= {
        *("apiVersion", "kind", "namespace", "labels", "resources"),
        *("images", "replicas", "patches"),
    }
    for resource in kustomization["resources"]:
        target = path.parent / resource
        assert target in FILES or target.resolve() / "kustomization.yaml" in KUSTOMIZATIONS
    images = {container["image"] for _, container in containers()}
    for row in kustomization.get("images", ()):
        assert row["name"] in images
    for row in kustomization.get("replicas", ()):
        named("Deployment", row["name"])


def test_no_manifest_is_left_out_of_its_kustomization() -> None:
    for path in FILES:
        kustomization = yaml.safe_load((path.parent / "kustomization.yaml").read_text())
        assert path.name in kustomization["resources"]


@pytest.mark.parametrize("path", sorted(PATCHES), ids=name_of)
def test_patches_change_what_is_there(path: Path) -> None:
    for patch in read(path):
        target = named(patch["kind"], patch["metadata"]["name"])
        assert _fields(patch) <= _fields(target) | {"maxUnavailable"}


def _fields(value: Any) -> set[str]:
    if not isinstance(value, dict):
        return set()
    return set(value).union(*map(_fields, value.values()))


@pytest.mark.parametrize("manifest", MANIFESTS, ids=name_of)
def test_everything_is_in_one_namespace(manifest: Manifest) -> None:
    if manifest["kind"] != "Namespace":
        assert (
            manifest["metadata"]["namespace"] == named("Namespace", "trunkline")["metadata"]["name"]
        )


def test_every_variable_is_a_setting_of_what_runs_there() -> None:
    kinds: dict[str, type[ExtractorSettings]] = {
        "serve": ServerSettings,
        "extractor": StandaloneExtractorSettings,
        "store": ServerSettings,
    }
    for _, container in containers():
        fields = kinds[container["command"][1]].model_fields
        known = {f"TRUNKLINE_{field.upper()}" for field in fields}
        given = {name for name in variables(container) if name.startswith("TRUNKLINE_")}
        assert given <= known | NOT_YET


def test_every_value_is_one_that_its_setting_takes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are not there, and what names them is left out."""
    for name, kind in (
        ("trunkline-servers", ServerSettings),
        ("trunkline-extractors", StandaloneExtractorSettings),
    ):
        data = named("ConfigMap", name)["data"]
        given = {key: value for key, value in data.items() if not value.startswith("/secrets/")}
        with monkeypatch.context() as environment:
            for key, value in given.items():
                environment.setenv(key, value)
            settings = kind(insecure=True)
        assert settings.host == "0.0.0.0"


def test_every_file_that_a_setting_names_is_mounted() -> None:
    for pod, container in containers():
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in pod["spec"]["volumes"]}
        assert set(mounts.values()) == set(volumes)
        for value in variables(container).values():
            if value.startswith("/"):
                at = next(path for path in mounts if f"{value}/".startswith(f"{path}/"))
                kind = "secret" if value.startswith("/secrets/") else "emptyDir"
                assert kind in volumes[mounts[at]]


def test_no_secret_is_in_the_repository_and_the_page_says_how_to_make_each() -> None:
    assert not of_kind("Secret")
    text = "".join(path.read_text() for path in FILES)
    asked = set(re.findall(r"secretName: (\S+)", text))
    asked |= set(re.findall(r"secretKeyRef:\s+name: (\S+)", text))
    asked |= set(re.findall(r"(?:credentials|secret):\s+name: (\S+)", text))
    assert len(asked) >= 5
    for name in asked:
        assert re.search(rf"\b{name}\b", PAGE), name


@pytest.mark.parametrize(
    "pod", pods(), ids=lambda pod: next(iter(pod["metadata"]["labels"].values()))
)
def test_pods_have_no_more_rights_than_they_need(pod: Manifest) -> None:
    spec = pod["spec"]
    assert spec["enableServiceLinks"] is False
    assert spec["automountServiceAccountToken"] is False
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert f"--uid {spec['securityContext']['runAsUser']}" in (ROOT / "Dockerfile").read_text()
    for container in spec["containers"]:
        rights = container["securityContext"]
        assert rights["readOnlyRootFilesystem"] is True
        assert rights["allowPrivilegeEscalation"] is False
        assert rights["capabilities"] == {"drop": ["ALL"]}
        assert "memory" in container["resources"]["limits"]
        assert "memory" in container["resources"]["requests"]


def test_a_pod_is_not_killed_before_it_has_drained() -> None:
    for deployment in of_kind("Deployment"):
        spec = deployment["spec"]["template"]["spec"]
        for container in spec["containers"]:
            drain = float(variables(container)["TRUNKLINE_DRAIN_SECONDS"])
            sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert spec["terminationGracePeriodSeconds"] > sleep + drain + CLOSE_SECONDS + 1


def test_ports_are_those_that_are_listened_on() -> None:
    defaults = {
        ("server", "grpc"): ServerSettings.model_fields["grpc_port"].default,
        ("server", "rest"): ServerSettings.model_fields["rest_port"].default,
        ("extractor", "grpc"): StandaloneExtractorSettings.model_fields["port"].default,
        ("extractor", "metrics"): StandaloneExtractorSettings.model_fields["metrics_port"].default,
    }
    found = {
        (container["name"], port["name"]): port["containerPort"]
        for _, container in containers()
        for port in container.get("ports", ())
    }
    assert found == defaults


def test_services_probes_and_policies_name_ports_that_are_there() -> None:
    ports = {
        pod["metadata"]["labels"]["app.kubernetes.io/name"]: {
            port["name"]: port["containerPort"] for port in container.get("ports", ())
        }
        for pod, container in containers()
    }
    for service in of_kind("Service"):
        assert service["spec"]["clusterIP"] == "None"
        there = ports[service["spec"]["selector"]["app.kubernetes.io/name"]]
        for port in service["spec"]["ports"]:
            assert there[port["targetPort"]] == port["port"]
    for _, container in containers():
        names = {port["name"] for port in container.get("ports", ())}
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            if probe in container:
                assert container[probe]["httpGet"]["port"] in names
    for policy in of_kind("NetworkPolicy"):
        labels = policy["spec"]["podSelector"].get("matchLabels", {})
        for rule in policy["spec"].get("ingress", ()):
            for port in rule["ports"]:
                assert port["port"] in ports[labels["app.kubernetes.io/name"]]
    servers = variables(
        named("Deployment", "trunkline-servers")["spec"]["template"]["spec"]["containers"][0]
    )
    service = named("Service", "trunkline-extractors")
    host, port = servers["TRUNKLINE_EXTRACTOR"].removeprefix("dns:///").split(":")
    assert host == service["metadata"]["name"]
    assert int(port) == service["spec"]["ports"][0]["port"]


def test_everything_that_selects_pods_finds_some() -> None:
    labels = [pod["metadata"]["labels"] for pod in pods()]
    selectors = [row["spec"]["selector"] for row in of_kind("Service")]
    selectors += [
        row["spec"]["selector"]["matchLabels"]
        for row in of_kind("Deployment", "PodDisruptionBudget", "PodMonitor")
    ]
    selectors += [
        row["spec"]["podSelector"].get("matchLabels", {}) for row in of_kind("NetworkPolicy")
    ]
    selectors += [
        constraint["labelSelector"]["matchLabels"]
        for pod in pods()
        for constraint in pod["spec"].get("topologySpreadConstraints", ())
    ]
    for selector in selectors:
        assert any(selector.items() <= found.items() for found in labels), selector
    for scaler in of_kind("HorizontalPodAutoscaler", "ScaledObject"):
        named("Deployment", scaler["spec"]["scaleTargetRef"]["name"])


def test_extractors_are_scaled_on_a_metric_that_there_is() -> None:
    (trigger,) = named("ScaledObject", "trunkline-extractors")["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    promql_parser.parse(query)
    metrics = Metrics(1)
    metrics.phase_seconds.labels("queue", "minilm/l6-v2").observe(0.1)
    there = {
        sample.name: sample.labels
        for family in metrics.registry.collect()
        for sample in family.samples
    }
    asked = re.findall(r"(trunkline_\w+)\{", query)
    assert len(asked) == 2
    for name in asked:
        assert there[name]["phase"] == "queue"
    assert 'phase="queue"' in query
