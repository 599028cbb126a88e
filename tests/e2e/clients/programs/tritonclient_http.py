"""Asks a server with Triton's own HTTP client: SERVER IMAGE."""

import sys

import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

TEXTS, IMAGES = "shared/sentiment", "shared/textile"


def tensor(name, values):
    given = triton.InferInput(name, [len(values)], "BYTES")
    given.set_data_from_numpy(np.array(values, dtype=object))
    return given


def refused(call, *words):
    try:
        call()
    except InferenceServerException as error:
        assert all(word in str(error) for word in words), error
        return error
    raise AssertionError("was not refused")


def main(server, image):
    client = triton.InferenceServerClient(server)
    assert client.is_server_live() and client.is_server_ready()
    assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
    for model in (TEXTS, IMAGES, "backbones/minilm/l6-v2"):
        assert client.is_model_ready(model)
    assert not client.is_model_ready("shared/none")
    metadata = client.get_model_metadata(IMAGES)
    assert metadata["inputs"] == [{"name": "image", "datatype": "BYTES", "shape": [-1]}]
    assert client.get_model_config(IMAGES)["max_batch_size"] == 0
    assert {TEXTS, IMAGES} <= {model["name"] for model in client.get_model_repository_index()}

    texts = [b"a wonderful, great and lovely film", b"\xff\xfe", "schön, très bien".encode()]
    found = client.infer(TEXTS, [tensor("text", texts)], request_id="seven")
    assert found.get_response()["id"] == "seven"
    labels, errors = found.as_numpy("label"), found.as_numpy("error")
    assert labels[0] == b"positive" and not errors[0]
    assert not labels[1] and errors[1].startswith(b"INVALID_ARGUMENT")
    probabilities, classes = found.as_numpy("probabilities"), found.as_numpy("classes")
    assert probabilities.shape == (3, 2) and list(classes) == [b"negative", b"positive"]
    assert abs(probabilities[0].sum() - 1) < 1e-5 and not probabilities[1].any()
    assert np.allclose(found.as_numpy("probability")[[0, 2]], probabilities[[0, 2]].max(axis=1))

    with open(image, "rb") as file:
        photo = file.read()
    for coding in (None, "gzip", "deflate"):
        found = client.infer(
            IMAGES, [tensor("image", [photo, b"nonsense"])], request_compression_algorithm=coding
        )
        assert found.as_numpy("label")[0] and not found.as_numpy("label")[1]
        assert found.as_numpy("error")[1].startswith(b"INVALID_ARGUMENT")

    ranked = triton.InferRequestedOutput("probabilities", class_count=5)
    found = client.infer(TEXTS, [tensor("text", texts)], outputs=[ranked])
    best = found.as_numpy("probabilities")
    assert best.shape == (3, 2), best
    value, index, label = best[0][0].split(b":")
    assert label == b"positive" and index == b"1" and float(value) > 0.5

    plain = [triton.InferRequestedOutput("label", binary_data=False)]
    given = triton.InferInput("text", [1], "BYTES")
    given.set_data_from_numpy(
        np.array(["a wonderful, great and lovely film"], dtype=object), binary_data=False
    )
    assert client.infer(TEXTS, [given], outputs=plain).as_numpy("label")[0] == "positive"
    version = found.get_response()["model_version"]
    again = client.infer(TEXTS, [tensor("text", texts)], model_version=version)
    assert again.get_response()["model_version"] == version

    found = client.infer("backbones/minilm/l6-v2", [tensor("text", texts)])
    assert found.as_numpy("embedding").shape == (3, 384)
    assert not found.as_numpy("embedding")[1].any()
    metadata = client.get_model_metadata(TEXTS)
    vectors = triton.InferInput("embedding", [3, 384], "FP32")
    vectors.set_data_from_numpy(found.as_numpy("embedding"))
    fingerprint = {"fingerprint": metadata["parameters"]["fingerprint"]}
    assert (
        client.infer(TEXTS, [vectors], parameters=fingerprint).as_numpy("label")[0] == b"positive"
    )
    refused(lambda: client.infer(TEXTS, [vectors]), "fingerprint")

    refused(lambda: client.infer("shared/none", [tensor("text", [b"x"])]), "shared/heads/none")
    refused(lambda: client.infer("none", [tensor("text", [b"x"])]))
    refused(lambda: client.infer(TEXTS, [tensor("texts", [b"x"])]), "inputs", "texts")
    none = [triton.InferRequestedOutput("none")]
    refused(lambda: client.infer(TEXTS, [tensor("text", [b"x"])], outputs=none), "outputs")


main(*sys.argv[1:])
