"""Asks a server with Triton's own gRPC client: SERVER IMAGE."""

import sys

import numpy as np
import tritonclient.grpc as triton
from tritonclient.grpc import service_pb2, service_pb2_grpc
from tritonclient.utils import InferenceServerException

TEXTS, IMAGES = "shared/sentiment", "shared/textile"


def tensor(name, values):
    given = triton.InferInput(name, [len(values)], "BYTES")
    given.set_data_from_numpy(np.array(values, dtype=object))
    return given


def refused(call, status, *words):
    try:
        call()
    except InferenceServerException as error:
        assert status in str(error.status()), error
        assert all(word in str(error) for word in words), error
        return
    raise AssertionError("was not refused")


def main(server, image):
    client = triton.InferenceServerClient(server)
    assert client.is_server_live() and client.is_server_ready()
    assert client.get_server_metadata().name == "trunkline"
    for model in (TEXTS, IMAGES, "backbones/minilm/l6-v2"):
        assert client.is_model_ready(model)
    metadata = client.get_model_metadata(IMAGES)
    assert [(each.name, each.datatype) for each in metadata.inputs] == [("image", "BYTES")]
    assert {TEXTS, IMAGES} <= {each.name for each in client.get_model_repository_index().models}

    texts = [b"a wonderful, great and lovely film", b"\xff\xfe", b"awful"]
    found = client.infer(TEXTS, [tensor("text", texts)], request_id="seven", priority=3, timeout=9)
    assert found.get_response().id == "seven"
    assert found.as_numpy("label")[0] == b"positive" and not found.as_numpy("label")[1]
    assert found.as_numpy("error")[1].startswith(b"INVALID_ARGUMENT")
    assert found.as_numpy("probabilities").shape == (3, 2)
    with open(image, "rb") as file:
        photo = file.read()
    found = client.infer(IMAGES, [tensor("image", [photo, b"nonsense"])])
    assert found.as_numpy("label")[0] and not found.as_numpy("label")[1]
    ranked = triton.InferRequestedOutput("probabilities", class_count=1)
    found = client.infer(TEXTS, [tensor("text", texts)], outputs=[ranked])
    assert found.as_numpy("probabilities").shape == (3, 1)
    assert found.as_numpy("probabilities")[0][0].endswith(b":1:positive")
    found = client.infer("backbones/minilm/l6-v2", [tensor("text", texts)])
    assert found.as_numpy("embedding").shape == (3, 384)

    refused(lambda: client.infer("shared/none", [tensor("text", [b"x"])]), "NOT_FOUND", "none")
    refused(lambda: client.infer(TEXTS, [tensor("texts", [b"x"])]), "INVALID_ARGUMENT", "texts")
    refused(lambda: client.get_inference_statistics(), "UNIMPLEMENTED")
    typed(server)


def typed(server):
    """What other clients send: contents by their type, and both ways at once."""
    with triton.grpc.insecure_channel(server) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        request = service_pb2.ModelInferRequest(model_name=TEXTS)
        given = request.inputs.add(name="text", datatype="BYTES", shape=[1])
        given.contents.bytes_contents.append(b"a wonderful, great and lovely film")
        reply = stub.ModelInfer(request)
        assert len(reply.raw_output_contents) == len(reply.outputs)
        request.raw_input_contents.append(b"\1\0\0\0x")
        try:
            stub.ModelInfer(request)
        except triton.grpc.RpcError as error:
            assert error.code() is triton.grpc.StatusCode.INVALID_ARGUMENT, error
        else:
            raise AssertionError("was not refused")


main(*sys.argv[1:])
