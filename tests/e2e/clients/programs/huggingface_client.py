"""Asks a server with Hugging Face's own client: SERVER IMAGE."""

import sys

from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError


def main(server, image):
    photos = InferenceClient(model=f"{server}/hf/shared/textile")
    found = photos.image_classification(image)
    assert found[0].label and found == sorted(found, key=lambda each: -each.score)
    with open(image, "rb") as file:
        content = file.read()
    assert photos.image_classification(content) == found
    assert photos.image_classification(image, top_k=1) == found[:1]
    texts = InferenceClient(model=f"{server}/hf/shared/sentiment")
    found = texts.text_classification("a wonderful, great and lovely film", top_k=2)
    assert [each.label for each in found] == ["positive", "negative"]
    vectors = InferenceClient(model=f"{server}/hf/backbones/minilm/l6-v2")
    assert vectors.feature_extraction("a wonderful, great and lovely film").shape == (1, 384)
    for call, words in (
        (lambda: photos.image_classification(b"nonsense"), "inputs[0]"),
        (lambda: texts.text_classification(""), "inputs[0]"),
        (lambda: texts.text_classification("x", function_to_apply="none"), "function_to_apply"),
    ):
        try:
            call()
        except HfHubHTTPError as error:
            assert error.response.status_code == 400 and words in str(error), error
        else:
            raise AssertionError("was not refused")


main(*sys.argv[1:])
