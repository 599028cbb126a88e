"""Asks a server with KServe's own client, over REST and gRPC: REST GRPC IMAGE."""

import asyncio
import sys

import numpy as np
from kserve import InferenceGRPCClient, InferenceRESTClient, InferInput, InferRequest, RESTConfig

TEXTS, IMAGES = "shared/sentiment", "shared/textile"


def question(model, name, values):
    given = InferInput(name, [len(values)], "BYTES")
    given.set_data_from_numpy(np.array(values, dtype=object))
    return InferRequest(model, [given])


def outputs(answer):
    return {output.name: output.as_numpy() for output in answer.outputs}


def check(answer, model):
    assert answer.model_name == model
    found = outputs(answer)
    assert found["label"][0] in (b"positive", "positive"), found
    assert not found["label"][1] and found["error"][1], found


async def main(rest, server, image):
    texts = [b"a wonderful, great and lovely film", b""]
    with open(image, "rb") as file:
        photo = file.read()
    client = InferenceRESTClient(RESTConfig(protocol="v2"))
    assert await client.is_server_live(rest) and await client.is_server_ready(rest)
    assert await client.is_model_ready(rest, TEXTS)
    check(await client.infer(rest, question(TEXTS, "text", texts), model_name=TEXTS), TEXTS)
    answer = await client.infer(rest, question(IMAGES, "image", [photo]), model_name=IMAGES)
    assert outputs(answer)["label"][0]
    remote = InferenceGRPCClient(server)
    assert await remote.is_server_live() and await remote.is_server_ready()
    assert await remote.is_model_ready(TEXTS)
    check(await remote.infer(question(TEXTS, "text", texts)), TEXTS)
    answer = await remote.infer(question(IMAGES, "image", [photo]))
    assert outputs(answer)["label"][0]
    await remote.close()
    await client.close()


asyncio.run(main(*sys.argv[1:]))
