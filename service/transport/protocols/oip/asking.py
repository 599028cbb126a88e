"""Inference requests of either transport as messages of the API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from service.errors import InvalidRequest
from service.requests.tensors import to_tensor
from service.transport.base64_text import read_base64
from service.transport.foreign.names import Model
from service.transport.protocols.oip.tensors import BYTES, Given, array_of, count_of, elements_of
from trunkline.v1 import common_pb2, extraction_pb2, prediction_pb2

KINDS = {"image": BYTES, "text": BYTES, "digest": BYTES, "pixels": "UINT8", "embedding": "FP32"}
"""What a model takes, one of them a request: by name, its datatype."""

FINGERPRINT = "fingerprint"
"""Parameter that says which backbone made the embeddings of a request."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An output that a client asks for.

    Attributes:
        classes: so many of the best, as ``value:index:label``; 0 for the tensor itself.
        binary: whether its bytes follow the JSON of REST; None if it does not say.
    """

    name: str
    classes: int = 0
    binary: bool | None = None


@dataclass(frozen=True, slots=True)
class Inference:
    """An inference request.

    Attributes:
        wanted: empty for all outputs.
    """

    id: str
    inputs: Sequence[Given]
    wanted: Sequence[Wanted] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Rows:
    """The inputs of a request.

    Attributes:
        faults: why a row cannot be read, which costs it alone; its input is empty.
    """

    inputs: list[common_pb2.Input]
    faults: Mapping[int, str]


def read_rows(inference: Inference, most: int) -> Rows:
    """Reads the one input tensor of a request, a row for each element or vector.

    Args:
        most: elements of BYTES, or rows, that it may have.

    Raises:
        InvalidRequest: there is none, or another than the model takes, or its data do not fit.
    """
    names = ", ".join(KINDS)
    if len(inference.inputs) != 1:
        found = ", ".join(each.name for each in inference.inputs[:10]) or "none"
        raise InvalidRequest.at("inputs", "takes one of {limit}, has {value}", names, found)
    (given,) = inference.inputs
    wanted = KINDS.get(given.name)
    if wanted is None:
        raise InvalidRequest.at("inputs", "takes one of {limit}, has {value!r}", names, given.name)
    if given.datatype != wanted:
        raise InvalidRequest.at(
            f"inputs.{given.name}.datatype", "must be {limit}, is {value!r}", wanted, given.datatype
        )
    if given.datatype == BYTES:
        return _read_elements(given, most)
    if given.name == "pixels":
        return _read_pixels(given, most)
    return _read_vectors(given, inference.parameters, most)


def prediction_of(model: Model, rows: Rows) -> prediction_pb2.PredictRequest:
    """Returns the request of a head's predictions."""
    return prediction_pb2.PredictRequest(head=model.head, version=model.version, inputs=rows.inputs)


def embedding_of(model: Model, rows: Rows, tenant: str) -> extraction_pb2.EmbedRequest:
    """Returns the request of a backbone's embeddings."""
    return extraction_pb2.EmbedRequest(tenant=tenant, backbone=model.backbone, inputs=rows.inputs)


def _read_elements(given: Given, most: int) -> Rows:
    inputs, faults = [], {}
    for row, element in enumerate(elements_of(given, count_of(given, most))):
        if given.name == "text":
            text = element.encode("utf-8", "surrogatepass") if isinstance(element, str) else element
            inputs.append(common_pb2.Input(text_utf8=text))
            continue
        try:
            inputs.append(_read_element(given.name, element))
        except InvalidRequest as error:
            inputs.append(common_pb2.Input())
            faults[row] = f"INVALID_ARGUMENT: {error.message}"
    return Rows(inputs, faults)


def _read_element(name: str, element: bytes | str) -> common_pb2.Input:
    if name == "digest":
        text = element if isinstance(element, str) else element.decode("utf-8", "replace")
        return common_pb2.Input(digest=text.encode("utf-8", "replace").decode())
    # JSON has no bytes.
    image = read_base64(element, "image") if isinstance(element, str) else element
    return common_pb2.Input(image=image)


def _read_pixels(given: Given, most: int) -> Rows:
    if len(given.shape) != 4:
        raise _wrong_shape(given, "[rows, height, width, 3]")
    _check_rows(given, most)
    pixels = array_of(given, count_of(given, _most_of(given)))
    return Rows([common_pb2.Input(pixels=to_tensor(each)) for each in pixels], {})


def _read_vectors(given: Given, parameters: Mapping[str, Any], most: int) -> Rows:
    if len(given.shape) != 2:
        raise _wrong_shape(given, "[rows, dim]")
    _check_rows(given, most)
    fingerprint = given.parameters.get(FINGERPRINT, parameters.get(FINGERPRINT))
    if not isinstance(fingerprint, str) or not fingerprint.isascii():
        raise InvalidRequest.at(
            "parameters.fingerprint",
            "embeddings need {limit}",
            "the backbone's that made them",
        )
    vectors = array_of(given, count_of(given, _most_of(given)))
    return Rows(
        [
            common_pb2.Input(
                embedding=common_pb2.Embedding(
                    fingerprint=fingerprint, vector=to_tensor(vector.astype("float32"))
                )
            )
            for vector in vectors
        ],
        {},
    )


def _check_rows(given: Given, most: int) -> None:
    if given.shape[0] > most:
        raise InvalidRequest.at(
            f"inputs.{given.name}.shape", "at most {limit} rows, has {value}", most, given.shape[0]
        )


def _most_of(given: Given) -> int:
    """Numbers are as many as there are bytes or values, which are bounded."""
    return len(given.raw) if given.raw is not None else 2**62


def _wrong_shape(given: Given, wanted: str) -> InvalidRequest:
    shape = list(given.shape)[:5]
    return InvalidRequest.at(
        f"inputs.{given.name}.shape", "must be {limit}, is {value}", wanted, shape
    )
