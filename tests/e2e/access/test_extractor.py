"""An extractor with a shared key answers those who know it, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from service.access.key_text import new_text
from tests.e2e.access.asking import Asking, shown
from tests.e2e.access.routes import METHODS, Needs, Route
from tests.e2e.access.rpcs import OF_THE_EXTRACTOR
from tests.e2e.processes import Running, extractor_command, serving

SHARED = "a-shared-secret-of-25-characters"
BAD = {"none": None, "another": new_text(), "longer": SHARED + "x", "shorter": SHARED[:-1]}
OF_HEALTH_AND_REFLECTION = [route for route in METHODS if route.asked.startswith("/grpc.")]


@pytest.fixture(scope="module")
def extractor(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("extractor")
    (folder / "key").write_text(SHARED + "\n")
    command = extractor_command("--port", "0", "--extractor-key-file", str(folder / "key"))
    with serving(command, folder / "log") as running:
        yield running


@pytest.fixture(scope="module")
def asking(extractor: Running) -> Iterator[Asking]:
    opened = Asking(extractor.grpc, extractor.addresses["metrics"])
    yield opened
    opened.close()


@pytest.mark.parametrize("method", OF_THE_EXTRACTOR)
def test_rpc_takes_the_shared_key_alone(asking: Asking, method: str) -> None:
    fields = OF_THE_EXTRACTOR[method]
    refused = [asking.over_grpc(method, [fields], shown(key)) for key in BAD.values()]
    assert refused == [refused[0]] * len(BAD)
    assert refused[0].code == "UNAUTHENTICATED"
    assert asking.over_grpc(method, [fields], shown(SHARED)).code != "UNAUTHENTICATED"


@pytest.mark.parametrize("route", OF_HEALTH_AND_REFLECTION, ids=str)
def test_health_is_open_and_all_else_takes_the_key(asking: Asking, route: Route) -> None:
    def code(key: str | None) -> str:
        return asking.raw_grpc(route.asked, [route.given["message"]], shown(key)).code

    assert code(SHARED) == route.code
    refused = route.code if route.needs is Needs.NOTHING else "UNAUTHENTICATED"
    assert {code(key) for key in BAD.values()} == {refused}


def test_metrics_take_the_key(asking: Asking) -> None:
    for path in ("/metrics", "/", "/nothing"):
        refused = {
            asking.raw_rest("GET", path, headers=dict(shown(key))).shown for key in BAD.values()
        }
        assert len(refused) == 1
        assert "401" in refused.pop()
    assert asking.raw_rest("GET", "/metrics", headers=dict(shown(SHARED))).code == "OK"
