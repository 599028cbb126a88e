"""A server and an extractor that run as the manifests of `deploy/kubernetes/` have it."""

from __future__ import annotations

import json
import re
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tests.authority import Authority
from tests.deploy.manifests import Manifest, containers, named
from tests.e2e.processes import Running, free_port, run
from trunkline import Client, Embedding

pytestmark = pytest.mark.long

BACKBONE = "minilm/l6-v2"
PROBES = ("startupProbe", "livenessProbe", "readinessProbe")
KEY = "k" * 40


@dataclass
class Pod:
    """A process that runs what a container does, and the ports that it has in place of its own."""

    container: Manifest
    running: Running
    ports: dict[str, str]

    def asked(self, probe: str) -> int:
        """The status that the kubelet gets, which does not look at certificates."""
        asks = self.container[probe]["httpGet"]
        url = f"{asks['scheme'].lower()}://127.0.0.1:{self.ports[asks['port']]}{asks['path']}"
        return httpx.get(url, verify=False, timeout=20).status_code


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def pods(
    tmp_path_factory: pytest.TempPathFactory, cache_dir: Path, authority: Authority
) -> Iterator[dict[str, Pod]]:
    folder = tmp_path_factory.mktemp("pods")
    secrets = folder / "secrets"
    for name, host in (("tls", "localhost"), ("extractor-tls", "localhost")):
        pair = authority.issue(name, names=[host])
        (secrets / name).mkdir(parents=True)
        (secrets / name / "tls.crt").write_bytes(pair.cert.read_bytes())
        (secrets / name / "tls.key").write_bytes(pair.key.read_bytes())
    for name, file, data in (
        ("extractor-key", "key", KEY.encode()),
        ("extractor-ca", "ca.crt", authority.ca.read_bytes()),
    ):
        (secrets / name).mkdir()
        (secrets / name / file).write_bytes(data)
    extractors_at = free_port()
    started: dict[str, Pod] = {}
    try:
        for name in ("extractor", "server"):
            started[name] = _start(name, folder, cache_dir, extractors_at)
        for pod in started.values():
            pod.running.wait_until_serving()
        yield started
    finally:
        for pod in started.values():
            pod.running.close()


def _start(name: str, folder: Path, cache_dir: Path, extractors_at: str) -> Pod:
    """Starts a container's command with its settings, on loopback and without a GPU."""
    (container,) = (row for _, row in containers() if row["name"] == name)
    ports = {row["name"]: free_port() for row in container["ports"]}
    ports |= {"grpc": extractors_at} if name == "extractor" else {}
    variables = dict(named("ConfigMap", f"trunkline-{name}s")["data"])
    mounts = {
        key: value.replace("/secrets/", f"{folder}/secrets/")
        for key, value in variables.items()
        if value.startswith("/secrets/")
    }
    if name == "extractor":  # its Secret is mounted in the place that the servers' has there
        mounts = {key: value.replace("/tls/", "/extractor-tls/") for key, value in mounts.items()}
    ours = {
        "TRUNKLINE_HOST": "127.0.0.1",
        "TRUNKLINE_DATA_DIR": str(folder / name),
        "TRUNKLINE_CACHE_DIR": str(cache_dir),
        "TRUNKLINE_BACKBONE": BACKBONE,
        "HOME": str(folder),
        "BENTOML_HOME": str(folder / "bentoml"),
        "HF_HOME": str(folder / "huggingface"),
        "TORCH_HOME": str(folder / "torch"),
    }
    if name == "extractor":
        ours["TRUNKLINE_DEVICE"] = "cpu"
    else:
        ours["TRUNKLINE_EXTRACTOR"] = f"dns:///localhost:{extractors_at}"
        ours["TRUNKLINE_AUTH"] = "required"  # as it is beyond loopback
    flags = {"extractor": ("--port", "--metrics-port"), "server": ("--grpc-port", "--rest-port")}
    command = [sys.executable, "-m", *container["command"]]
    for pair in zip(flags[name], ports.values(), strict=True):
        command += pair
    running = Running.start(command, folder / f"{name}.log", {**variables, **mounts, **ours})
    return Pod(container, running, ports)


@pytest.mark.parametrize("name", ["extractor", "server"])
@pytest.mark.parametrize("probe", PROBES)
def test_probes_pass_on_what_runs(pods: dict[str, Pod], name: str, probe: str) -> None:
    assert pods[name].asked(probe) == 200


def test_every_variable_is_taken(pods: dict[str, Pod]) -> None:
    for pod in pods.values():
        assert "variable of no setting" not in pod.running.log.read_text()


def test_clients_reach_it_with_the_key_of_the_first_start(
    pods: dict[str, Pod], authority: Authority
) -> None:
    log = pods["server"].running.log.read_text()
    made = next(json.loads(line) for line in log.splitlines() if "operator's key" in line)
    address = f"dns:///localhost:{pods['server'].ports['grpc']}"
    token = Path(made["file"]).read_text().strip()
    with Client(address, token=token, ca=authority.ca, timeout=60) as client:
        assert [row.name for row in client.backbones()] == [BACKBONE]
        (embedding,) = client.embed("acme", ["from afar"], BACKBONE)
    assert isinstance(embedding, Embedding)


def test_metrics_are_read_with_the_keys_that_prometheus_has(pods: dict[str, Pod]) -> None:
    monitor = named("PodMonitor", "trunkline-extractors")["spec"]["podMetricsEndpoints"][0]
    port = pods["extractor"].ports[monitor["port"]]
    url = f"{monitor['scheme']}://127.0.0.1:{port}{monitor['path']}"
    assert httpx.get(url, verify=False).status_code == 401
    reply = httpx.get(url, verify=False, headers={"authorization": f"Bearer {KEY}"})
    scaled = named("ScaledObject", "trunkline-extractors")["spec"]["triggers"][0]["metadata"]
    for metric in re.findall(r"(trunkline_\w+)\{", scaled["query"]):
        assert re.search(rf'^{metric}{{.*phase="queue".*}}', reply.text, re.MULTILINE)


def test_server_without_its_extractor_is_live_and_not_ready_and_both_end_in_time(
    pods: dict[str, Pod],
) -> None:
    """The last test of these: it ends what they run on."""
    extractor, server = pods["extractor"].running, pods["server"]
    extractor.process.send_signal(signal.SIGTERM)
    assert extractor.wait() == 0
    while server.asked("readinessProbe") == 200:
        pass
    assert server.asked("livenessProbe") == 200
    assert server.running.terminate() == 0


def test_migration_is_a_command_that_there_is() -> None:
    (container,) = (row for _, row in containers() if row["name"] == "migration")
    program, *words, flag, _url = container["command"]
    shown = run([sys.executable, "-m", program, *words, "--help"])
    if "No such command" in shown.stderr:
        pytest.skip("this release has no store of several servers")
    assert flag in shown.stdout
