"""Files of tails: what they say, and which ones a backbone refuses."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from numpy.typing import NDArray

from models import Backbone, BackboneError
from models.errors import InvalidTail
from models.tails import read_tail, write_tail

BIAS = {"bn2.bias": np.zeros(1280, np.float32)}
BEFORE_THE_CUT = {"blocks.0.0.bn1.bias": np.zeros(32, np.float32)}


def refused(backbone: Backbone, data: bytes) -> str:
    with pytest.raises(InvalidTail) as caught:
        backbone.load_tail(data)
    return str(caught.value)


def refused_tensors(
    backbone: Backbone, tensors: Mapping[str, NDArray[Any]], *, whole: bool = False
) -> str:
    return refused(backbone, write_tail(backbone.fingerprint, tensors, whole=whole))


def test_file_says_what_was_written_and_the_same_bytes_each_time() -> None:
    tensors: dict[str, NDArray[Any]] = {"b": np.ones((2, 3)), "a": np.zeros(2, np.float32)}
    data = write_tail("ab" * 32, tensors, whole=True)
    assert data == write_tail("ab" * 32, dict(sorted(tensors.items())), whole=True)
    file = read_tail(data)
    assert (file.backbone, file.whole) == ("ab" * 32, True)
    assert {name: tensor.shape for name, tensor in file.tensors.items()} == {"a": (2,), "b": (2, 3)}
    assert all(tensor.dtype == np.float32 for tensor in file.tensors.values())


def test_tail_of_another_backbone_is_refused(
    image_backbone: Backbone, text_backbone: Backbone
) -> None:
    message = refused(image_backbone, write_tail(text_backbone.fingerprint, {}, whole=False))
    assert text_backbone.fingerprint in message
    assert image_backbone.fingerprint in message


@pytest.mark.parametrize("whole", [False, True])
def test_unknown_tensor_is_refused(image_backbone: Backbone, whole: bool) -> None:
    tensors = {"blocks.99.bias": np.zeros(3, np.float32)}
    assert "blocks.99.bias" in refused_tensors(image_backbone, tensors, whole=whole)


def test_tensor_before_the_cut_is_refused_unless_the_tail_is_whole(
    image_backbone: Backbone,
) -> None:
    assert "after its cut" in refused_tensors(image_backbone, BEFORE_THE_CUT)
    data = write_tail(image_backbone.fingerprint, BEFORE_THE_CUT, whole=True)
    assert image_backbone.load_tail(data).whole


@pytest.mark.parametrize("shape", [(1279,), (1, 1280), ()])
def test_tensor_of_another_shape_is_refused(
    image_backbone: Backbone, shape: tuple[int, ...]
) -> None:
    message = refused_tensors(image_backbone, {"bn2.bias": np.zeros(shape, np.float32)})
    assert "bn2.bias" in message
    assert "(1280,)" in message


@pytest.mark.parametrize("number", [np.nan, np.inf])
def test_tensor_that_is_not_finite_is_refused(image_backbone: Backbone, number: float) -> None:
    tensors = {"bn2.bias": np.full(1280, number, np.float32)}
    assert "bn2.bias" in refused_tensors(image_backbone, tensors)


@pytest.mark.parametrize("whole", [False, True])
def test_statistics_stay_those_of_the_backbone(image_backbone: Backbone, whole: bool) -> None:
    statistics = {"bn2.running_mean": np.zeros(1280, np.float32)}
    message = refused_tensors(image_backbone, statistics, whole=whole)
    assert "bn2.running_mean is no parameter" in message


def test_broken_file_is_refused(image_backbone: Backbone) -> None:
    data = write_tail(image_backbone.fingerprint, BIAS, whole=False)
    for broken in (b"", b"no tail", data[:-1], data[:40], data + b"\0", b"\xff" * 200):
        assert str(len(broken)) in refused(image_backbone, broken)


@pytest.mark.parametrize(
    "facts", ["{}", "[]", "broken", '{"backbone": 3, "whole": true}', "[" * 9999]
)
def test_file_without_its_facts_is_refused(image_backbone: Backbone, facts: str) -> None:
    refused(image_backbone, safetensors.numpy.save(BIAS, metadata={"trunkline-tail-1": facts}))
    refused(image_backbone, safetensors.numpy.save(BIAS, metadata={"another-format": facts}))
    refused(image_backbone, safetensors.numpy.save(BIAS))


def test_file_that_is_not_sure_whether_it_is_whole_is_refused(image_backbone: Backbone) -> None:
    facts = f'{{"backbone": "{image_backbone.fingerprint}", "whole": "false"}}'
    refused(image_backbone, safetensors.numpy.save(BIAS, metadata={"trunkline-tail-1": facts}))


def test_file_of_other_numbers_is_refused(image_backbone: Backbone) -> None:
    data = write_tail(image_backbone.fingerprint, BIAS, whole=False)
    for dtype in (b"I32", b"U32"):
        message = refused(image_backbone, data.replace(b'"F32"', b'"%s"' % dtype))
        assert f"bn2.bias of the tail must be F32, not {dtype.decode()}" in message


def test_activations_of_another_shape_are_an_error(image_backbone: Backbone) -> None:
    rows = [np.zeros((112, 14, 14), np.float32), np.zeros((112, 7, 14), np.float32)]
    with pytest.raises(BackboneError, match="shape"):
        image_backbone.finish(rows)
    with pytest.raises(BackboneError, match="failed"):
        image_backbone.finish([np.zeros((3, 14, 14), np.float32)])
