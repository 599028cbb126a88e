"""A server to be sent whatever comes to mind."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.access.operator_key import FILE
from tests.e2e.access.asking import Answer, Asking, Metadata, shown
from tests.e2e.conftest import IMAGES, TEXTS
from tests.e2e.processes import Running, extractor_command, serve_command, serving
from trunkline import Client, NotFound, Prediction

EXAMPLES = [("good", "a"), ("fine", "a"), ("bad", "b"), ("poor", "b")]
BROKEN = {"INTERNAL", "UNKNOWN", "DATA_LOSS", "500", "501", "502"}


def check(answer: Answer) -> None:
    """Fails if it is the server's fault."""
    assert answer.code not in BROKEN, answer.shown


@dataclass(frozen=True)
class Target:
    """A server that must neither fail nor end, whatever is sent.

    Attributes:
        weights: a head's file.
        words: what strings in messages are in most cases, by the field's name.
    """

    running: Running
    asking: Asking
    key: str
    weights: bytes
    words: dict[str, list[str]]

    @property
    def headers(self) -> Metadata:
        return shown(self.key)

    def restore(self) -> None:
        """Gives back the tenant that requests name, and its head, whatever has become of them."""
        with Client(self.running.grpc, token=self.key) as client:
            with suppress(NotFound):
                client.delete_tenant("acme")
            client.import_head("acme/used", self.weights, TEXTS)
            client.upload("acme/used", EXAMPLES)

    def check_alive(self) -> None:
        """Fails unless it serves as before, and has logged no fault."""
        with Client(self.running.grpc, token=self.key) as client:
            (row,) = client.predict("beta/kept", ["good"])
            assert isinstance(row, Prediction)
            assert (row.label, row.version) == ("a", 1)
        assert "Traceback" not in self.running.log.read_text()
        faults = [event for event in self.running.events() if event.get("level") == "error"]
        assert not faults, json.dumps(faults[:3])[:4000]


@pytest.fixture(scope="package")
def target(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Target]:
    folder = tmp_path_factory.mktemp("fuzz")
    command = serve_command(folder / "data", "--auth", "required")
    with serving(command, folder / "log") as running:
        key = (folder / "data" / FILE).read_text().strip()
        asking = Asking(running.grpc, running.rest)
        with Client(running.grpc, token=key) as client:
            client.create_head("beta/kept", TEXTS)
            client.upload("beta/kept", EXAMPLES)
            client.train("beta/kept")
            weights = client.export_head("beta/kept").safetensors
            fingerprint = next(one.fingerprint for one in client.backbones() if one.name == TEXTS)
            words = _words(client, fingerprint)
        yield Target(running, asking, key, weights, words)
        asking.close()
        assert running.terminate() == 0


@pytest.fixture(scope="package")
def far(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Asking]:
    """An extractor that is asked as by its server, and must not fail either."""
    folder = tmp_path_factory.mktemp("far")
    with serving(extractor_command("--port", "0"), folder / "log") as running:
        asking = Asking(running.grpc, running.addresses["metrics"])
        yield asking
        asking.close()
        assert running.terminate() == 0
        assert "Traceback" not in (folder / "log").read_text()


def _words(client: Client, fingerprint: str) -> dict[str, list[str]]:
    head = "tenants/acme/heads/used"
    versions = [f"{head}/versions/1", f"{head}/versions/active"]
    names = ["tenants/acme", head, *versions, f"{head}/trainings/0"]
    return {
        "head": [head],
        "name": [*names, "keys/0"],
        "parent": ["tenants/acme"],
        "tenant": ["tenants/acme"],
        "head_id": ["used", "new"],
        "backbone": [TEXTS],
        "backbones": [TEXTS, IMAGES],
        "fingerprint": [fingerprint],
        "dtype": ["float32", "uint8", "uint32"],
        "family": ["", "logistic", "ridge"],
        "": ["", "a", "b", "good", "0" * 64, "balanced", "uncertainty"],
    }
