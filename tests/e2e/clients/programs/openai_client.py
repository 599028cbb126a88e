"""Asks a server with OpenAI's own client: SERVER."""

import sys

import openai

MODEL = "minilm/l6-v2"


def refused(kind, call, *words):
    try:
        call()
    except kind as error:
        assert all(word in str(error) for word in words), error
        return error
    raise AssertionError("was not refused")


def main(server):
    client = openai.OpenAI(base_url=f"{server}/v1", api_key="none is asked for")
    assert MODEL in [model.id for model in client.models.list()]
    assert client.models.retrieve(MODEL).id == MODEL
    texts = ["a wonderful, great and lovely film", "awful"]
    packed = client.embeddings.create(model=MODEL, input=texts)
    listed = client.embeddings.create(model=MODEL, input=texts, encoding_format="float")
    assert [row.embedding for row in packed.data] == [row.embedding for row in listed.data]
    assert [(row.index, len(row.embedding)) for row in packed.data] == [(0, 384), (1, 384)]
    assert client.embeddings.create(model=MODEL, input=texts[0], dimensions=384).usage is not None

    def create(**changed):
        return lambda: client.embeddings.create(**{"model": MODEL, "input": texts, **changed})

    error = refused(openai.BadRequestError, create(input=["fine", ""]), "input[1]")
    assert error.param == "input[1]" and error.type == "invalid_request_error"
    refused(openai.BadRequestError, create(input=[[1, 2], [3]]), "check_embedding_ctx_length")
    refused(openai.BadRequestError, create(input=[1, 2]), "tokens")
    refused(openai.BadRequestError, create(dimensions=7), "dimensions")
    refused(openai.APIStatusError, create(model="none/none"), "none/none")
    refused(openai.NotFoundError, lambda: client.models.retrieve("none/none"), "none/none")


main(*sys.argv[1:])
