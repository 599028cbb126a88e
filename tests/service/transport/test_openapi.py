"""The OpenAPI document says what the routes and messages are, and nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.descriptor_pool import Default
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.routing import Route

from service.errors import InvalidRequest
from service.transport.backend import Backend
from service.transport.methods import OF_THE_SERVER, Method, methods_of
from service.transport.openapi.examples import BODIES
from service.transport.plain_rows import is_plain
from service.transport.proto_json import read_json
from service.transport.rest import rest_app
from service.transport.rest_bodies import read_form, write_json
from tests.e2e.processes import ROOT
from tests.openapi import DOCUMENT, assert_fits
from trunkline.v1 import common_pb2, heads_pb2

METHODS = {method.name: method for method in methods_of(*OF_THE_SERVER)}
SCHEMAS: dict[str, Any] = DOCUMENT["components"]["schemas"]
OPERATIONS = {
    operation["operationId"]: (path, verb, operation)
    for path, item in DOCUMENT["paths"].items()
    for verb, operation in item.items()
}
ROWS = ("Predict", "Classify", "Embed", "GetHeadReport")
"""RPCs whose replies REST writes in a form of its own."""


def test_document_is_openapi_3_1() -> None:
    OpenAPIV31SpecValidator(DOCUMENT).validate()
    assert DOCUMENT["openapi"].startswith("3.1.")


def test_every_route_is_in_the_document_and_every_path_of_it_is_a_route() -> None:
    routed = {
        (verb.lower(), re.sub(r"\{\w+:id\}", "{}", route.path))
        for route in rest_app(Backend()).routes
        if isinstance(route, Route) and route.path.startswith("/v1/")
        for verb in (route.methods or set()) - {"HEAD"}
    }
    documented = {
        (verb, re.sub(r"\{\w+\}", "{}", path))
        for path, verb, _ in OPERATIONS.values()
        if path.startswith("/v1")
    }
    assert documented == routed
    assert len(routed) == len(METHODS)


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_ids_of_a_path_are_its_parameters(method: Method) -> None:
    path, _, operation = OPERATIONS[method.name]
    named = [given["name"] for given in operation["parameters"] if given.get("in") == "path"]
    assert re.findall(r"\{(\w+)\}", path) == named


def test_dash_stands_for_all_tenants_where_heads_and_usage_are_listed_and_nowhere_else() -> None:
    takes = {
        name
        for name, (_, _, operation) in OPERATIONS.items()
        for parameter in operation.get("parameters", ())
        if (parameter.get("name"), parameter.get("in")) == ("tenant", "path")
        and re.search(parameter["schema"]["pattern"], "-")
    }
    assert takes == {"ListHeads", "GetUsage"}


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_every_field_of_a_request_can_be_given(method: Method) -> None:
    _, verb, operation = OPERATIONS[method.name]
    fields = {field.name for field in method.request.DESCRIPTOR.fields}
    if verb == "post":
        assert set(SCHEMAS[method.request.DESCRIPTOR.name]["properties"]) == fields
        return
    assert method.rest is not None
    given = {given["name"] for given in operation["parameters"] if given.get("in") == "query"}
    assert given == fields - {method.rest.field}


@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
async def test_request_is_described_as_a_form_if_its_rows_can_come_in_one(method: Method) -> None:
    content = OPERATIONS[method.name][2].get("requestBody", {}).get("content", {})
    if "multipart/form-data" not in content:
        with pytest.raises(InvalidRequest, match="takes no files"):
            await read_form(method.request, [("text", "a")], {})
        return
    form = content["multipart/form-data"]["schema"]["properties"]
    assert form.keys() >= {"image", "text"}
    columns = [name for name in ("label", "id") if name in form]
    request: Any = await read_form(
        method.request, [("text", "a"), *((name, "given") for name in columns)], {}
    )
    (rows,) = (value for field, value in request.ListFields() if field.is_repeated)
    (row,) = rows
    assert columns == [name for name in ("label", "id") if name in row.DESCRIPTOR.fields_by_name]
    assert [getattr(row, name) for name in columns] == ["given"] * len(columns)


def test_image_as_the_body_and_json_lines_are_described_where_they_are_taken_alone() -> None:
    for kind, sent in (("image/*", "image/jpeg"), ("application/x-ndjson", "application/x-ndjson")):
        described = {
            path
            for path, _, operation in OPERATIONS.values()
            if kind in operation.get("requestBody", {}).get("content", {})
        }
        taken = {path for path, _, _ in OPERATIONS.values() if is_plain(path, sent)}
        assert described == taken
        assert len(taken) == 2


@pytest.mark.parametrize(("name", "rows"), [("Predict", "predictions"), ("Embed", "embeddings")])
def test_line_of_an_answer_is_described_as_a_row_of_the_reply(name: str, rows: str) -> None:
    answered = OPERATIONS[name][2]["responses"]["200"]["content"]["application/x-ndjson"]
    at: Any = DOCUMENT
    for part in answered["schema"]["$ref"].removeprefix("#/").split("/"):
        at = at[part]
    assert at == SCHEMAS[f"{name}Response"]["properties"][rows]["items"]
    assert at["properties"]["row"]["type"] == "integer"


@pytest.mark.parametrize("path", ["/predict", "/embed"])
def test_native_endpoint_is_described_as_a_form_of_the_same_fields(path: str) -> None:
    content = DOCUMENT["paths"][path]["post"]["requestBody"]["content"]
    fields, form = (content[name]["schema"]["properties"] for name in content)
    assert list(content) == ["application/json", "multipart/form-data"]
    assert form.keys() == fields.keys() - {"inputs"} | {"image", "text"}


@pytest.mark.parametrize("fill", [False, True], ids=["empty", "full"])
@pytest.mark.parametrize("method", METHODS.values(), ids=lambda method: method.name)
def test_any_request_fits_its_schema(method: Method, fill: bool) -> None:
    if OPERATIONS[method.name][1] == "post":
        for request in filled(method.request) if fill else [method.request()]:
            body = MessageToDict(request, preserving_proto_field_name=True)
            assert_fits(body, method.request.DESCRIPTOR.name)


@pytest.mark.parametrize("fill", [False, True], ids=["empty", "full"])
@pytest.mark.parametrize(
    "method", [METHODS[name] for name in METHODS if name not in ROWS], ids=lambda m: m.name
)
def test_any_reply_fits_its_schema(method: Method, fill: bool) -> None:
    for reply in filled(method.response) if fill else [method.response()]:
        written = json.loads(json.dumps(write_json(reply)))
        assert_fits(written, method.response.DESCRIPTOR.name)


def test_reply_with_a_field_that_is_not_described_does_not_fit() -> None:
    reply = write_json(heads_pb2.FindMissingInputsResponse())
    assert_fits(reply, "FindMissingInputsResponse")
    for wrong in ({}, reply | {"more": 1}, {"missing": [1]}):
        with pytest.raises(AssertionError, match="FindMissingInputsResponse"):
            assert_fits(wrong, "FindMissingInputsResponse")


@pytest.mark.parametrize("name", BODIES)
def test_example_is_a_request_that_can_be_read(name: str) -> None:
    assert_fits(BODIES[name], METHODS[name].request.DESCRIPTOR.name)
    request = read_json(METHODS[name].request, json.dumps(BODIES[name]).encode(), {})
    assert MessageToDict(request, preserving_proto_field_name=True) == BODIES[name]


def test_comments_of_the_proto_files_are_the_descriptions() -> None:
    assert OPERATIONS["DeleteHead"][2]["description"] == (
        "Deletes a head with its examples, versions and feedback. The name may be used again."
    )
    admin = {tag["name"]: tag["description"] for tag in DOCUMENT["tags"]}["AdminService"]
    assert admin.startswith("For operators")
    assert SCHEMAS["RowError"]["description"].startswith("Why one row of a request failed.")
    assert SCHEMAS["RowError"]["properties"]["row"]["description"] == (
        "Index of the row in the request."
    )
    assert "- `LIVE_STATE_IDLE`: No feedback since" in SCHEMAS["LiveState"]["description"]
    (parameter,) = (
        given
        for given in OPERATIONS["ListExamples"][2]["parameters"]
        if given.get("name") == "page_size"
    )
    assert parameter["description"] == "At most 1000; 0 means 100."


def test_values_are_described_as_the_json_form_of_protobuf_writes_them() -> None:
    head = SCHEMAS["Head"]["properties"]
    assert head["create_time"] == {"type": "string", "format": "date-time"}
    assert SCHEMAS["Tail"]["properties"]["size_bytes"]["type"] == "string"
    assert SCHEMAS["Tensor"]["properties"]["data"]["contentEncoding"] == "base64"
    assert SCHEMAS["HeadSpec"]["properties"]["class_weights"]["additionalProperties"] == {
        "type": "number",
        "format": "double",
    }
    for wrong in ({"text": "a", "image": ""}, {}, {"sound": ""}):
        with pytest.raises(AssertionError):
            assert_fits(wrong, "Input")


def test_descriptor_set_is_that_of_the_stubs() -> None:
    packed = (ROOT / "trunkline/v1/descriptors.binpb").read_bytes()
    files = FileDescriptorSet.FromString(packed).file
    assert {file.name for file in files} == {
        f"trunkline/v1/{path.name}" for path in (ROOT / "proto/trunkline/v1").glob("*.proto")
    }
    for file in files:
        stub = FileDescriptorProto()
        Default().FindFileByName(file.name).CopyToProto(stub)
        file.ClearField("source_code_info")
        for name in _without_json_names(file), _without_json_names(stub):
            assert name.name == file.name
        assert file == stub, f"{file.name}: run make proto"


def _without_json_names(file: FileDescriptorProto) -> FileDescriptorProto:
    """The one thing that protoc adds to a descriptor set."""
    for message in file.message_type:
        _clear_json_names(message)
    for extension in file.extension:
        extension.ClearField("json_name")
    return file


def _clear_json_names(message: descriptor_pb2.DescriptorProto) -> None:
    for field in message.field:
        field.ClearField("json_name")
    for nested in message.nested_type:
        _clear_json_names(nested)


def filled(cls: type[Message]) -> Iterator[Message]:
    """Messages with all fields set; one for each kind of input, as it can have only one."""
    for kind in common_pb2.Input.DESCRIPTOR.oneofs_by_name["kind"].fields:
        message = cls()
        _fill(message, kind.name)
        yield message


def _fill(message: Message, kind: str) -> None:
    descriptor: Any = message.DESCRIPTOR
    for field in descriptor.fields:
        oneof = field.containing_oneof
        if oneof is not None and len(oneof.fields) > 1 and field.name != kind:
            continue
        value = getattr(message, field.name)
        if is_map(field):
            of_values = field.message_type.fields_by_name["value"]
            value["a"] = "b" if of_values.cpp_type == FieldDescriptor.CPPTYPE_STRING else 0.5
        elif field.message_type is not None:
            _fill(value.add() if field.is_repeated else value, kind)
            if not field.is_repeated:
                value.SetInParent()
        elif field.is_repeated:
            value.append(sample(field))
        else:
            setattr(message, field.name, sample(field))


def is_map(field: FieldDescriptor) -> bool:
    entry: Descriptor | None = field.message_type
    return entry is not None and bool(entry.GetOptions().map_entry)


def sample(field: FieldDescriptor) -> Any:
    """A value that is not the default, near the end of its range."""
    return {
        FieldDescriptor.CPPTYPE_BOOL: True,
        FieldDescriptor.CPPTYPE_DOUBLE: -1e-300,
        FieldDescriptor.CPPTYPE_ENUM: 1,
        FieldDescriptor.CPPTYPE_INT32: 999_999_999,  # and its nanoseconds
        FieldDescriptor.CPPTYPE_INT64: 253_402_300_799,  # seconds of the last timestamp
        FieldDescriptor.CPPTYPE_STRING: b"\xff" if field.type == field.TYPE_BYTES else "é",
        FieldDescriptor.CPPTYPE_UINT32: 2**32 - 1,
        FieldDescriptor.CPPTYPE_UINT64: 2**64 - 1,
    }[field.cpp_type]
