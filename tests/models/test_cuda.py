"""Both engines on a GPU; skipped where there is none."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import Backbone, Modality, load_backbone
from models.engines.base import Choice, choose, gpu_count
from models.tails import write_tail
from tests.models.conftest import TEXTS

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(gpu_count() == 0, reason="the CUDA driver shows no GPU"),
]


@pytest.fixture(scope="module", params=["image", "text"])
def case(request: pytest.FixtureRequest, photos: list[NDArray[np.uint8]]) -> tuple[Backbone, Any]:
    """A CPU backbone as the reference, and inputs for it."""
    inputs: Sequence[Any] = photos if request.param == "image" else TEXTS
    return request.getfixturevalue(f"{request.param}_backbone"), inputs


def embed(backbone: Backbone, inputs: Sequence[Any]) -> NDArray[np.float32]:
    return backbone.forward([backbone.preprocess(raw) for raw in inputs])


def close(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Within the tolerance of bfloat16, relative to the largest number of each row."""
    largest = np.abs(other).reshape(len(other), -1).max(axis=1)
    difference = np.abs(one - other).reshape(len(one), -1).max(axis=1)
    return bool((difference <= 5e-2 * largest).all())


def cosines(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    result: NDArray[np.float32] = (one * other).sum(axis=1) / lengths
    return result


def test_auto_takes_torch_on_the_gpu() -> None:
    assert choose("auto", "auto") == Choice("torch", "cuda")


def test_torch_in_bfloat16_agrees_with_the_cpu(case: tuple[Backbone, Any], cache_dir: Path) -> None:
    reference, inputs = case
    backbone = load_backbone(reference.name, engine="torch", device="cuda", cache_dir=cache_dir)
    backbone.warm_up()
    assert (backbone.engine, backbone.device) == ("torch", "cuda")
    assert backbone.fingerprint != reference.fingerprint
    assert cosines(embed(backbone, inputs), embed(reference, inputs)).min() > 0.99


def test_torch_in_bfloat16_does_not_depend_on_the_batch(
    case: tuple[Backbone, Any], cache_dir: Path
) -> None:
    reference, inputs = case
    backbone = load_backbone(reference.name, engine="torch", device="cuda", cache_dir=cache_dir)
    alone = np.concatenate([embed(backbone, [raw]) for raw in inputs])
    for copies in (1, 4, 16):
        together = embed(backbone, list(inputs) * copies)
        for start in range(0, len(together), len(inputs)):
            difference = np.abs(together[start : start + len(inputs)] - alone)
            assert (difference <= 5e-2 * np.abs(alone).max(axis=1, keepdims=True)).all()


def test_onnxruntime_in_float32_agrees_with_the_cpu_and_shares_its_fingerprint(
    case: tuple[Backbone, Any], cache_dir: Path
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        pytest.skip("this build of ONNX Runtime is for the CPU")
    reference, inputs = case
    backbone = load_backbone(
        reference.name, engine="onnxruntime", device="cuda", cache_dir=cache_dir
    )
    assert backbone.fingerprint == reference.fingerprint
    np.testing.assert_allclose(embed(backbone, inputs), embed(reference, inputs), atol=1e-4)


def test_recorded_passes_give_what_plain_ones_give(
    case: tuple[Backbone, Any], cache_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    reference, inputs = case
    plain, recorded = (
        load_backbone(reference.name, engine="torch", device="cuda", cache_dir=cache_dir)
        for _ in range(2)
    )
    recorded.warm_up()
    for rows in (1, 3, 8, 70):
        some = (list(inputs) * rows)[:rows]
        assert close(embed(recorded, some), embed(plain, some))
    prepared = [recorded.preprocess(raw) for raw in inputs]
    activations = recorded.activations(prepared)
    for one, other in zip(activations, plain.activations(prepared), strict=True):
        assert one.shape == other.shape
        assert close(one, other)
    assert close(recorded.finish(activations), plain.finish(activations))
    assert not caplog.records  # all could be recorded


def test_recorded_passes_of_many_threads_do_not_mix(
    case: tuple[Backbone, Any], cache_dir: Path
) -> None:
    reference, inputs = case
    backbone = load_backbone(reference.name, engine="torch", device="cuda", cache_dir=cache_dir)
    backbone.warm_up()
    batches = [list(inputs)[:rows] for rows in range(1, len(inputs) + 1)] * 8
    alone = [embed(backbone, batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        together = pool.map(lambda batch: embed(backbone, batch), batches)
        for one, other in zip(together, alone, strict=True):
            assert close(one, other)


@pytest.mark.parametrize("whole", [False, True])
def test_tail_agrees_with_the_same_tail_on_the_cpu(
    case: tuple[Backbone, Any], cache_dir: Path, whole: bool
) -> None:
    reference, inputs = case
    backbone = load_backbone(reference.name, engine="torch", device="cuda", cache_dir=cache_dir)
    rng = np.random.default_rng(0)
    name, shape = {
        Modality.IMAGE: ("conv_head.weight", (1280, 320, 1, 1)),
        Modality.TEXT: ("encoder.layer.5.output.dense.weight", (384, 1536)),
    }[reference.modality]
    tensors = {name: rng.normal(scale=0.05, size=shape).astype(np.float32)}
    embeddings = []
    for one in (reference, backbone):
        tail = one.load_tail(write_tail(one.fingerprint, tensors, whole=whole))
        prepared = [one.preprocess(raw) for raw in inputs]
        rows = [row.data for row in prepared] if whole else one.activations(prepared)
        embeddings.append(tail.run(rows))
    assert cosines(*embeddings).min() > 0.99
    assert cosines(embeddings[1], embed(backbone, inputs)).min() < 0.99


def test_closed_backbone_gives_its_memory_back(cache_dir: Path) -> None:
    import torch

    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    backbone = load_backbone(
        "efficientnet/lite0", engine="torch", device="cuda", cache_dir=cache_dir
    )
    backbone.warm_up()
    prepared = [backbone.preprocess(np.zeros((224, 224, 3), np.uint8))]
    tails = [
        backbone.load_tail(write_tail(backbone.fingerprint, tensors, whole=False))
        for tensors in ({}, {"conv_head.weight": np.zeros((1280, 320, 1, 1), np.float32)})
    ]
    for tail in tails:
        tail.run(backbone.activations(prepared))
    backbone.finish(backbone.activations(prepared))
    assert torch.cuda.memory_reserved() > before
    backbone.close()
    assert torch.cuda.memory_reserved() <= before
