"""Both engines on a GPU; skipped where there is none."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import Backbone, load_backbone
from models.engines.base import Choice, choose, gpu_count
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


def test_closed_backbone_gives_its_memory_back(cache_dir: Path) -> None:
    import torch

    torch.cuda.empty_cache()
    before = torch.cuda.memory_reserved()
    backbone = load_backbone(
        "efficientnet/lite0", engine="torch", device="cuda", cache_dir=cache_dir
    )
    backbone.warm_up()
    assert torch.cuda.memory_reserved() > before
    backbone.close()
    assert torch.cuda.memory_reserved() <= before
