"""Messages of ``ModelInfer``, read and written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from service.errors import InvalidRequest
from service.transport.protocols.oip.asking import Inference, Wanted
from service.transport.protocols.oip.messages import message_class
from service.transport.protocols.oip.tensors import Given, Output

_CONTENTS = {"BYTES": "bytes_contents", "FP32": "fp32_contents", "UINT8": "uint_contents"}
"""Where the elements are that come typed, by datatype."""

Response = message_class("ModelInferResponse")


def read_inference(request: Any) -> Inference:
    """Reads a request, whose tensors come raw or typed.

    Raises:
        InvalidRequest: they come both ways, or are fewer or more than the inputs.
    """
    raws: Sequence[bytes] = request.raw_input_contents
    if raws and len(raws) != len(request.inputs):
        raise InvalidRequest.at(
            "raw_input_contents", "needs one per input ({limit}), has {value}",
            len(request.inputs), len(raws),
        )  # fmt: skip
    given = [
        _read_input(tensor, raws[place] if raws else None)
        for place, tensor in enumerate(request.inputs)
    ]
    wanted = [_read_wanted(output) for output in request.outputs]
    return Inference(request.id, given, wanted, _parameters(request.parameters))


def write_inference(
    model_name: str, version: str, inference: Inference, outputs: Sequence[Output]
) -> Any:
    """Returns a response, all of whose tensors are raw: clients find them by their position."""
    response = Response(model_name=model_name, model_version=version, id=inference.id)
    for output in outputs:
        response.outputs.add(name=output.name, datatype=output.datatype, shape=output.shape)
        response.raw_output_contents.append(output.raw())
    return response


def _read_input(tensor: Any, raw: bytes | None) -> Given:
    values: Sequence[Any] = ()
    if tensor.HasField("contents") and raw is not None:
        raise InvalidRequest.at(
            f"inputs.{tensor.name}", "takes {limit}, has both", "contents or raw_input_contents"
        )
    if raw is None:
        values = getattr(tensor.contents, _CONTENTS.get(tensor.datatype, "bytes_contents"))
    parameters = _parameters(tensor.parameters)
    return Given(tensor.name, tensor.datatype, tensor.shape, raw, values, parameters)


def _read_wanted(output: Any) -> Wanted:
    classes = _parameters(output.parameters).get("classification", 0)
    if type(classes) is not int or classes < 0:
        raise InvalidRequest.at(
            "outputs.parameters.classification", "must be {limit}", "a whole number from 0"
        )
    return Wanted(output.name, classes)


def _parameters(given: Mapping[str, Any]) -> dict[str, Any]:
    """Returns parameters as Python's values; those without any are left out."""
    read = {}
    for name, parameter in given.items():
        if (kind := parameter.WhichOneof("parameter_choice")) is not None:
            read[name] = getattr(parameter, kind)
    return read
