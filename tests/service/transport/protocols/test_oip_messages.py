"""The Open Inference Protocol over gRPC: its messages, read and written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from google.protobuf.message import DecodeError
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.errors import InvalidRequest
from service.transport.protocols.oip.asking import read_rows
from service.transport.protocols.oip.grpc_requests import read_inference, write_inference
from service.transport.protocols.oip.messages import message_class
from service.transport.protocols.oip.tensors import Output

Request = message_class("ModelInferRequest")


def request(raw: bytes | None = None, **contents: Any) -> Any:
    asked = Request(model_name="acme/textile", id="seven")
    asked.inputs.add(name="text", datatype="BYTES", shape=[1, 2])
    if contents:
        asked.inputs[0].contents.bytes_contents.extend(contents["elements"])
    if raw is not None:
        asked.raw_input_contents.append(raw)
    return asked


@pytest.mark.parametrize(
    "asked",
    [request(b"\1\0\0\0a\2\0\0\0bc"), request(elements=[b"a", b"bc"])],
    ids=["raw", "typed"],
)
def test_elements_come_raw_or_typed(asked: Any) -> None:
    rows = read_rows(read_inference(asked), 10)
    assert [row.text_utf8 for row in rows.inputs] == [b"a", b"bc"]


@pytest.mark.parametrize(
    "asked",
    [
        request(b"\1\0\0\0a"),
        request(b"\1\0\0\0a\2\0\0\0bcd"),
        request(b"\1\0\0\0a\xff\xff\xff\xff"),
        request(b"\1\0\0\0a\2\0\0\0bc", elements=[b"a", b"bc"]),
        request(),
    ],
    ids=["too few", "too many bytes", "too long", "both ways", "none"],
)
def test_elements_that_do_not_fit_the_shape_are_refused(asked: Any) -> None:
    with pytest.raises(InvalidRequest, match=r"inputs\.text"):
        read_rows(read_inference(asked), 10)


def test_all_outputs_are_raw_in_their_order() -> None:
    outputs = [
        Output("label", "BYTES", (2,), [b"torn", b""]),
        Output("probability", "FP32", (2,), np.array([0.5, 0], np.float32)),
    ]
    reply = write_inference("acme/textile", "3", read_inference(request(b"")), outputs)
    assert [each.name for each in reply.outputs] == ["label", "probability"]
    assert reply.raw_output_contents[0] == b"\4\0\0\0torn\0\0\0\0"
    assert np.frombuffer(reply.raw_output_contents[1], "<f4").tolist() == [0.5, 0]
    assert (reply.id, reply.model_version) == ("seven", "3")


def test_stubs_of_the_same_names_are_no_hindrance() -> None:
    from google.protobuf import descriptor_pool

    with pytest.raises(KeyError):
        descriptor_pool.Default().FindMessageTypeByName("inference.ModelInferRequest")


@given(
    name=st.sampled_from(["text", "image", "digest", "pixels", "embedding", "none"]),
    datatype=st.sampled_from(["BYTES", "FP32", "UINT8", ""]),
    shape=st.lists(st.sampled_from([-1, 0, 1, 2, 3, 2**62]), max_size=5),
    raw=st.none() | st.binary(max_size=24),
    junk=st.binary(max_size=12),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whatever_is_sent_is_read_or_refused(
    name: str, datatype: str, shape: list[int], raw: bytes | None, junk: bytes
) -> None:
    asked = Request(model_name="acme/textile")
    asked.inputs.add(name=name, datatype=datatype, shape=shape)
    asked.parameters["fingerprint"].string_param = "f"
    if raw is not None:
        asked.raw_input_contents.append(raw)
    try:
        read = Request.FromString(asked.SerializeToString() + junk)
        read_rows(read_inference(read), 10)
    except (InvalidRequest, DecodeError):
        pass
