"""What a caller may do, told from the text of its request alone."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from service.access.caller import ANYONE, Caller, Role, matches
from service.access.rules import Rule
from service.errors import NotFound, PermissionDenied, ServiceError, StartupError, problem_of
from service.transport.methods import OF_THE_EXTRACTOR, OF_THE_SERVER, methods_of
from trunkline.resources import InvalidName
from trunkline.v1 import admin_pb2, heads_pb2, keys_pb2

METHODS = {method.name: method for method in methods_of(*OF_THE_SERVER, *OF_THE_EXTRACTOR)}
OF_A_TENANT = frozenset(Role) - {Role.OPERATE, Role.METRICS}
FULL = Caller(OF_A_TENANT, "acme", key="k")


def check(method: str, request: Message, caller: Caller) -> None:
    METHODS[method].rule.check(request, caller)


def refusal(method: str, request: Message, caller: Caller) -> Any:
    with pytest.raises((ServiceError, InvalidName)) as refused:
        check(method, request, caller)
    return refused.value


def test_operator_may_do_everything() -> None:
    operator = Caller(frozenset({Role.OPERATE}), key="k")
    for method in METHODS.values():
        method.rule.check(method.request(), operator)
        method.rule.check(None, ANYONE)


def test_foreign_head_does_not_exist_just_as_a_missing_one() -> None:
    foreign = refusal("GetHead", heads_pb2.GetHeadRequest(name="tenants/beta/heads/x"), FULL)
    assert isinstance(foreign, NotFound)
    assert problem_of(foreign).message == "head: there is no tenants/beta/heads/x"
    for method, request in (
        ("GetHeadVersion", heads_pb2.GetHeadVersionRequest(name="tenants/beta/heads/x/versions/1")),
        ("GetTraining", heads_pb2.GetTrainingRequest(name="tenants/beta/heads/x/trainings/t")),
        ("TrainHead", heads_pb2.TrainHeadRequest(head="tenants/beta/heads/x")),
    ):
        assert problem_of(refusal(method, request, FULL)) == problem_of(foreign)


def test_foreign_tenant_does_not_exist() -> None:
    request = heads_pb2.CreateHeadRequest(parent="tenants/beta", head_id="x")
    assert problem_of(refusal("CreateHead", request, FULL)).message == (
        "tenant: there is no tenants/beta"
    )


def test_role_that_is_missing_is_named_whether_the_head_exists_or_not() -> None:
    reader = Caller(frozenset({Role.PREDICT}), "acme", key="k")
    request = heads_pb2.ListExamplesRequest(head="tenants/acme/heads/x")
    refused = refusal("ListExamples", request, reader)
    assert isinstance(refused, PermissionDenied)
    assert refused.message == "authorization: the key needs the role label or train"
    assert refused.limit == "label or train"


def test_foreign_head_is_not_found_even_for_a_role_too_few() -> None:
    reader = Caller(frozenset({Role.PREDICT}), "acme", key="k")
    request = heads_pb2.DeleteHeadRequest(name="tenants/beta/heads/x")
    assert isinstance(refusal("DeleteHead", request, reader), NotFound)


def test_what_belongs_to_no_tenant_is_the_operators() -> None:
    refused = refusal("LoadBackbone", admin_pb2.LoadBackboneRequest(name="a/b"), FULL)
    assert isinstance(refused, PermissionDenied)
    assert refused.limit == "operate"


def test_key_for_metrics_is_good_for_no_method() -> None:
    watcher = Caller(frozenset({Role.METRICS}), key="k")
    assert watcher.may_read_metrics
    assert not Caller(OF_A_TENANT, "acme", key="k").may_read_metrics
    for name, method in METHODS.items():
        refused = refusal(name, method.request(), watcher)
        assert isinstance(refused, PermissionDenied), name
        assert refused.value == "metrics"


def test_key_for_some_heads_sees_no_other() -> None:
    narrow = Caller(OF_A_TENANT, "acme", ("defects-*", "one"), "k")
    for head in ("defects-", "defects-2", "one"):
        check("GetHead", heads_pb2.GetHeadRequest(name=f"tenants/acme/heads/{head}"), narrow)
    for head in ("defects", "one-more", "other"):
        request = heads_pb2.GetHeadRequest(name=f"tenants/acme/heads/{head}")
        assert isinstance(refusal("GetHead", request, narrow), NotFound)


def test_malformed_name_is_refused_before_anything_is_asked_for() -> None:
    for name in ("acme", "tenants/ac me/heads/x", "heads/x", "tenants/acme/heads/x y", "/", "//"):
        refused = refusal("GetHead", heads_pb2.GetHeadRequest(name=name), FULL)
        assert isinstance(refused, InvalidName)
        assert refused.field == "name"


@given(st.text(max_size=40))
def test_no_text_leads_to_another_tenant(text: str) -> None:
    """Whatever passes names the caller's own tenant, or no tenant at all."""
    try:
        check("GetHead", heads_pb2.GetHeadRequest(name=text), FULL)
    except (NotFound, InvalidName):
        return
    assert text in ("", "tenants/-") or text.startswith("tenants/acme")


def test_every_method_says_what_it_needs() -> None:
    for method in METHODS.values():
        named = {field.name for field in method.request.DESCRIPTOR.fields}
        resources = named & {"head", "name", "parent", "tenant"}
        of_operator = method.rule.roles == {Role.OPERATE}
        of_keys = method.request.DESCRIPTOR.file.name == keys_pb2.DESCRIPTOR.name
        assert of_operator or of_keys or method.rule.resource in resources or not resources


def test_method_that_says_nothing_stops_the_start() -> None:
    from grpc_health.v1 import health_pb2

    check_ = health_pb2.DESCRIPTOR.services_by_name["Health"].methods_by_name["Check"]
    with pytest.raises(StartupError, match="does not say who may call it"):
        Rule.of(check_)


@pytest.mark.parametrize(
    ("pattern", "head", "good"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("a*", "a", True),
        ("a*", "ab", True),
        ("*", "x", True),
        ("a*", "ba", False),
        ("A*", "ab", False),
    ],
)
def test_pattern_stands_for_heads_that_begin_so(pattern: str, head: str, good: bool) -> None:
    assert matches(pattern, head) == good
