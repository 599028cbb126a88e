"""Every RPC of the proto files has a handler and a REST twin."""

from __future__ import annotations

from pathlib import Path

import pytest
from starlette.routing import Match

from service.application import Application, ExtractorApplication
from service.config import ServerSettings, StandaloneExtractorSettings, load_settings
from service.transport.backend import Backend
from service.transport.methods import (
    OF_THE_EXTRACTOR,
    OF_THE_SERVER,
    TAILS,
    Method,
    RestRoute,
    methods_of,
)
from service.transport.rest import rest_app

METHODS = tuple(methods_of(*OF_THE_SERVER))


def test_all_services_of_the_design_are_there() -> None:
    assert {method.service for method in METHODS} == {
        "trunkline.v1.ExtractionService",
        "trunkline.v1.PredictionService",
        "trunkline.v1.HeadService",
        "trunkline.v1.AdviceService",
        "trunkline.v1.AdminService",
        "trunkline.v1.KeyService",
        "trunkline.v1.TenantService",
        "trunkline.v1.ReviewService",
    }


async def test_every_rpc_has_a_handler(tmp_path: Path) -> None:
    application = Application(load_settings(ServerSettings, data_dir=tmp_path))
    try:
        assert application.handlers.keys() == {method.name for method in METHODS}
    finally:
        await application.close()


async def test_extractor_alone_has_a_handler_for_each_of_its_rpcs() -> None:
    application = ExtractorApplication(load_settings(StandaloneExtractorSettings))
    try:
        names = {method.name for method in methods_of(*OF_THE_EXTRACTOR)}
        assert application.handlers.keys() == names
    finally:
        await application.close()


def test_what_servers_ask_of_each_other_has_no_rest_twin() -> None:
    assert all(method.rest is None for method in methods_of(TAILS))


def test_no_two_rpcs_share_a_rest_twin() -> None:
    twins = [(twin(method).verb, twin(method).path) for method in METHODS]
    assert len(set(twins)) == len(twins)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_field_that_the_path_fills_belongs_to_the_request(method: Method) -> None:
    rest = twin(method)
    assert rest.path.startswith("/v1/")
    assert rest.verb in ("GET", "POST", "DELETE")
    if rest.field:
        assert rest.field in method.request.DESCRIPTOR.fields_by_name
        assert rest.name.startswith(("tenants/{id0}", "keys/{id0}"))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_path_leads_to_its_own_rpc_and_to_no_other(method: Method) -> None:
    ids = {f"id{i}": f"x{i}" for i in range(3)}
    rest = twin(method)
    path = rest.path.format(**ids)
    scope = {"type": "http", "method": rest.verb, "path": path, "headers": []}
    for route in rest_app(Backend()).routes:
        match, child = route.matches(scope)
        if match is Match.FULL:
            assert path_of(route) == rest.path
            wanted = {name: value for name, value in ids.items() if f"{{{name}}}" in path_of(route)}
            assert child["path_params"] == wanted
            return
    raise AssertionError(f"nothing answers {rest.verb} {path}")


def twin(method: Method) -> RestRoute:
    assert method.rest is not None
    return method.rest


def path_of(route: object) -> str:
    """The route's path as the proto files have it; in a route, ids are of the kind `id`."""
    return str(getattr(route, "path", "")).replace(":id}", "}")


def test_path_of_an_rpc_is_that_of_grpc() -> None:
    paths = {method.name: method.path for method in METHODS}
    assert paths["GetHead"] == "/trunkline.v1.HeadService/GetHead"
