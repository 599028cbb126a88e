"""Ray on this machine with the extraction service on it, as an operator starts both."""

from __future__ import annotations

import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml

from tests.e2e.processes import END_SECONDS, ROOT, Running, free_port

CONFIG = ROOT / "deploy" / "ray" / "extraction.yaml"
REPLICA = "ray::ServeReplica"


class RayCluster:
    """One node, and the deployment of `deploy/ray` with one replica of one small backbone.

    Attributes:
        address: of Ray's gRPC proxy.
        key: that the extractor wants to be shown.
        log: of the deployment.
    """

    def __init__(self, folder: Path) -> None:
        self.key = secrets.token_hex(20)
        self._port = free_port()
        self.address = f"127.0.0.1:{self._port}"
        self.log = folder / "serve.log"
        self._folder = folder
        self._started: list[Running] = []

    def start(self) -> None:
        """Starts Ray, and has it deploy the service; does not wait for that."""
        port, tools = free_port(), Path(sys.executable).parent
        environment = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # else they get nothing beside tests on busy cores
        }
        node = [
            *("start", "--head", "--block", "--port", port, "--num-cpus", "2"),
            *("--include-dashboard", "false", "--temp-dir", str(self._folder / "t")),
            *("--min-worker-port", "0", "--max-worker-port", "0"),
            *("--ray-client-server-port", free_port()),
            *("--dashboard-agent-listen-port", free_port()),
        ]
        self._start([str(tools / "ray"), *node], self._folder / "ray.log", environment)
        self._until_runs()
        environment["RAY_ADDRESS"] = f"127.0.0.1:{port}"
        # It prints all that replicas do, which nobody reads here.
        quiet = ["sh", "-c", 'exec "$@" >&2', "sh", str(tools / "serve"), "run", self._config()]
        self._start(quiet, self.log, environment)

    def replicas(self) -> list[psutil.Process]:
        """The processes of the service."""
        members = self._family(self._started[0])
        return [one for one in members if _command(one).startswith(REPLICA)]

    def stop(self) -> None:
        """Ends all that was started, by force what does not end."""
        family = [one for running in self._started for one in self._family(running)]
        try:
            for running in reversed(self._started):
                if running.process.poll() is None:
                    running.terminate()
        finally:
            for running in self._started:
                running.close()
            for member in family:
                if member.is_running():
                    member.terminate()
            _, alive = psutil.wait_procs(family, 10)
            for member in alive:
                member.kill()
            psutil.wait_procs(alive, END_SECONDS)

    def _start(self, command: list[str], log: Path, environment: dict[str, str]) -> None:
        # Ended also where whoever runs the tests is killed.
        guarded = ["setpriv", "--pdeathsig", "TERM", *command]
        self._started.append(Running.start(guarded, log, environment))

    def _until_runs(self) -> None:
        stdout = self._started[0].process.stdout
        assert stdout is not None
        for line in stdout:
            if "Ray runtime started" in line:
                return
        raise AssertionError((self._folder / "ray.log").read_text()[-4000:])

    def _config(self) -> str:
        """Writes the configuration that is shipped, with free ports and little to load."""
        config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
        config["http_options"]["port"] = int(free_port())
        config["grpc_options"]["port"] = int(self._port)
        (application,) = config["applications"]
        key_file = self._folder / "key"
        key_file.write_text(self.key)
        application["args"] |= {"extractor_key_file": str(key_file), "backbone": "minilm/l6-v2"}
        application["deployments"][0]["autoscaling_config"]["max_replicas"] = 1
        path = self._folder / "extraction.yaml"
        path.write_text(yaml.safe_dump(config))
        return str(path)

    @staticmethod
    def _family(running: Running) -> list[psutil.Process]:
        try:
            return psutil.Process(running.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.NoSuchProcess:
        return ""


@contextmanager
def ray_cluster() -> Iterator[RayCluster]:
    """A cluster that runs within the block; its sockets need a short path."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    cluster = RayCluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder, ignore_errors=True)
