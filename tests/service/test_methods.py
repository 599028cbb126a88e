"""Every RPC of the proto files has a use case and a REST twin."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.routing import Match

from service.application import Application, ExtractorApplication
from service.config import ExtractorSettings, ServerSettings, load_settings
from service.methods import EXTRACTION, HEADS, PREDICTION, Method, methods_of
from service.rest import Backend, rest_app

METHODS = tuple(methods_of(EXTRACTION, PREDICTION, HEADS))


def test_all_services_of_the_design_are_there() -> None:
    assert {method.service for method in METHODS} == {
        "trunkline.v1.ExtractionService",
        "trunkline.v1.PredictionService",
        "trunkline.v1.HeadService",
    }


async def test_every_rpc_has_a_use_case(tmp_path: Path) -> None:
    application = Application(load_settings(ServerSettings, data_dir=tmp_path))
    try:
        assert application.handlers.keys() == {method.name for method in METHODS}
    finally:
        await application.close()


async def test_extractor_alone_has_a_use_case_for_each_of_its_rpcs() -> None:
    application = ExtractorApplication(load_settings(ExtractorSettings))
    try:
        names = {method.name for method in methods_of(EXTRACTION)}
        assert application.handlers.keys() == names
    finally:
        await application.close()


def test_no_two_rpcs_share_a_rest_twin() -> None:
    twins = [(method.rest.verb, method.rest.path) for method in METHODS]
    assert len(set(twins)) == len(twins)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_field_that_the_path_fills_belongs_to_the_request(method: Method) -> None:
    assert method.rest.path.startswith("/v1/")
    assert method.rest.verb in ("GET", "POST", "DELETE")
    if method.rest.field:
        assert method.rest.field in method.request.DESCRIPTOR.fields_by_name
        assert method.rest.name.startswith("tenants/{id0}")


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_path_leads_to_its_own_rpc_and_to_no_other(method: Method) -> None:
    ids = {f"id{i}": f"x{i}" for i in range(3)}
    path = method.rest.path.format(**ids)
    scope = {"type": "http", "method": method.rest.verb, "path": path, "headers": []}
    for route in rest_app(Backend()).routes:
        match, child = route.matches(scope)
        if match is Match.FULL:
            assert getattr(route, "path", None) == method.rest.path
            wanted = {name: value for name, value in ids.items() if f"{{{name}}}" in path_of(route)}
            assert child["path_params"] == wanted
            return
    raise AssertionError(f"nothing answers {method.rest.verb} {path}")


def path_of(route: object) -> str:
    return str(getattr(route, "path", ""))


def test_path_of_an_rpc_is_that_of_grpc() -> None:
    paths = {method.name: method.path for method in METHODS}
    assert paths["GetHead"] == "/trunkline.v1.HeadService/GetHead"
