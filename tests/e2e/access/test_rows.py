"""No RPC and no route is without a row."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from service.transport.methods import OF_THE_EXTRACTOR, OF_THE_SERVER, methods_of
from tests.e2e.access import rpcs
from tests.e2e.access.routes import ROUTES
from tests.e2e.access.rpcs import RPCS
from tests.e2e.processes import ROOT

LIST_ROUTES = """
import json
from service.bento.service import SERVICE

def routes(application):
    while not hasattr(application, "routes"):
        application = application.app
    return application.routes

def walk(found):
    for route in found:
        path, methods = getattr(route, "path", None), getattr(route, "methods", None) or {"GET"}
        if not path:
            yield from walk(route.routes)
        else:
            yield [sorted(methods - {"HEAD"}), path]

print(json.dumps(list(walk(routes(SERVICE.to_asgi(is_main=True))))))
"""


def test_every_rpc_and_its_twin_have_a_row() -> None:
    twins = {"{tenant}": "{id0}", "{head}": "{id1}", "/versions/1": "/versions/{id2}"}
    twins |= {"/trainings/none": "/trainings/{id2}", "{key}": "{id0}"}
    rows = {}
    for rpc in RPCS:
        rest = rpc.rest.format(rpc.name)
        for ours, theirs in twins.items():
            rest = rest.replace(ours, theirs)
        rows[rpc.method] = rest
    assert len(rows) == len(RPCS)
    assert rows == {
        method.path.removeprefix("/trunkline.v1."): f"{method.rest.verb} {method.rest.path}"
        for method in methods_of(*OF_THE_SERVER)
        if method.rest is not None
    }
    assert len(rows) == len(list(methods_of(*OF_THE_SERVER)))


def test_every_route_has_a_row(tmp_path: Path) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "BENTOML_DO_NOT_TRACK": "True",
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path),
        "TRUNKLINE_DATA_DIR": str(tmp_path / "data"),
    }
    ended = subprocess.run(
        [sys.executable, "-c", LIST_ROUTES],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    routed = {f"{verb} {path}" for verbs, path in json.loads(ended.stdout) for verb in verbs}
    twins = {
        f"{method.rest.verb} {method.rest.path}".replace("}", ":id}")
        for method in methods_of(*OF_THE_SERVER)
        if method.rest is not None
    }
    rows = {
        f"{route.asked.split(' ')[0]} {route.routed or route.asked.split(' ')[1]}"
        for route in ROUTES
    }
    assert routed - twins - {"GET /static_content"} == rows  # that is a folder, and has a row


def test_every_rpc_of_an_extractor_has_a_row() -> None:
    methods = [method.path for method in methods_of(*OF_THE_EXTRACTOR)]
    assert sorted(methods) == sorted(f"/trunkline.v1.{name}" for name in rpcs.OF_THE_EXTRACTOR)
