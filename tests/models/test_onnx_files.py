"""ONNX files from elsewhere, each with a YAML file beside it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import BackboneError, InvalidCatalogue, Modality, UnknownEngine, WeightsMissing
from models.catalogue import MINILM_L6_V2
from tests.models.catalogues import assert_close, embed, load_configured
from tests.models.networks import (
    ONNX_IMAGE,
    describe_onnx,
    export_onnx,
    onnx_image_network,
)

pytestmark = pytest.mark.costly

Photos = list[NDArray[np.uint8]]

TEXT = {
    "modality": "text",
    "input": "ids",
    "mask": "mask",
    "types": "types",
    "output": "states",
    "pooling": "mean",
    "tokenizer": "tokenizer.json",
    "max_tokens": 16,
    "padding": 3,
}
TEXTS = ("one", "two three four five six", "a longer text " * 9)


class TokenNetwork:
    """States that depend on each token, on the types and on how much of the batch is padding."""

    def __new__(cls) -> Any:
        import torch
        from torch import Tensor, nn

        class Network(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                torch.manual_seed(7)
                self.table = nn.Embedding(30_522, 12)

            def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> tuple[Tensor, Tensor]:
                padded = (ids == 3).sum(dim=1, keepdim=True) == (1 - mask).sum(dim=1, keepdim=True)
                states = self.table(ids) + types[:, :, None] + padded[:, :, None]
                return states, states.amax(dim=1)

        return Network().eval()


@pytest.fixture(scope="module")
def image_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    export_onnx(onnx_image_network(), path, {"pixels": torch.zeros(2, 3, 32, 32)}, ["features"])
    return path


@pytest.fixture(scope="module")
def text_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch

    path = tmp_path_factory.mktemp("onnx") / "net.onnx"
    # One tensor under three names would be exported as one input.
    example = {name: torch.ones(2, 5, dtype=torch.int64) for name in ("ids", "mask", "types")}
    export_onnx(TokenNetwork(), path, example, ["states", "pooled"])
    shutil.copy(MINILM_L6_V2.files()["tokenizer"], path.parent)
    return path


def load(folder: Path, engine: str = "auto") -> Any:
    return load_configured(folder, engine=engine, source="onnx", weights="net.onnx")


def test_image_file_gets_what_its_description_says(image_file: Path, photos: Photos) -> None:
    import torch

    from models.torchvision_ops import declare_missing_operators

    declare_missing_operators()
    from torchvision import transforms

    prepare = transforms.Compose(
        [
            transforms.Resize(40),
            transforms.CenterCrop(32),
            transforms.ToTensor(),
            transforms.Normalize(ONNX_IMAGE["mean"], ONNX_IMAGE["std"]),
        ]
    )
    pixels = torch.stack([prepare(Image.fromarray(photo)) for photo in photos])
    with torch.inference_mode():
        features = onnx_image_network()(pixels).mean(dim=(2, 3)).numpy()
    describe_onnx(image_file.parent, ONNX_IMAGE)
    backbone = load(image_file.parent)
    assert (backbone.modality, backbone.dim, backbone.engine) == (Modality.IMAGE, 6, "onnxruntime")
    assert_close(embed(backbone, photos), features)
    describe_onnx(image_file.parent, ONNX_IMAGE, normalise=True)
    unit = load(image_file.parent)
    assert_close(embed(unit, photos), features / np.linalg.norm(features, axis=1, keepdims=True))
    assert unit.fingerprint != backbone.fingerprint


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_text_file_is_pooled_over_its_tokens_alone(pooling: str, text_file: Path) -> None:
    import torch

    describe_onnx(text_file.parent, TEXT, pooling=pooling)
    backbone = load(text_file.parent)
    together = embed(backbone, TEXTS)
    network, pools = TokenNetwork(), {"mean": lambda s: s.mean(0), "cls": lambda s: s[0]}
    for row, text in zip(together, TEXTS, strict=True):
        ids = torch.from_numpy(backbone.preprocess(text).data)[None]
        with torch.inference_mode():
            states = network(ids, torch.ones_like(ids), torch.zeros_like(ids))[0][0].numpy()
        assert_close(row, pools.get(pooling, lambda s: s[-1])(states))


def test_output_of_one_row_each_needs_no_pooling(text_file: Path) -> None:
    describe_onnx(text_file.parent, TEXT, output="pooled", pooling=None)
    backbone = load(text_file.parent)
    assert embed(backbone, TEXTS).shape == (3, 12)


def test_onnx_file_has_no_cut_and_no_torch_module(image_file: Path, photos: Photos) -> None:
    describe_onnx(image_file.parent, ONNX_IMAGE)
    backbone = load(image_file.parent)
    backbone.warm_up()
    assert (backbone.cut, backbone.tail_blocks) == ("", ())
    with pytest.raises(BackboneError, match="cannot be cut"):
        backbone.activations([backbone.preprocess(photos[0])])
    with pytest.raises(UnknownEngine, match="must be onnxruntime or auto, is torch"):
        load(image_file.parent, engine="torch")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"input": "nothing"}, "input: must be one of pixels, is 'nothing'"),
        ({"output": "nothing"}, "output: must be one of features"),
        ({"std": [0.2, 0.3, 0.0]}, "std.2: .* greater than 0, is 0.0"),
        ({"layout": "CHWN"}, "layout: .*NCHW.*, is 'CHWN'"),
        ({"crop": 41}, "crop: must be .* is 41x41"),
        ({"interpolation": "best"}, "filter: must be one of nearest, .* is 'best'"),
        ({"modality": "sound"}, "Input tag 'sound' .* expected tags: 'image', 'text'"),
        ({"colour": "red"}, "colour: .*not permitted"),
        ({"resize": None}, "resize: Field required"),
        ({"dim": 0}, "dim: .*, is 0"),
    ],
)
def test_description_that_does_not_fit_is_refused(
    changes: dict[str, Any], words: str, image_file: Path
) -> None:
    describe_onnx(image_file.parent, ONNX_IMAGE, **changes)
    with pytest.raises(InvalidCatalogue, match=rf"net\.yaml: (image\.)?{words}"):
        load(image_file.parent)


def test_input_that_is_not_named_is_refused(text_file: Path) -> None:
    describe_onnx(text_file.parent, TEXT, types=None)
    with pytest.raises(InvalidCatalogue, match="the graph needs types"):
        load(text_file.parent)


def test_what_lies_beside_a_file_has_to_be_there(tmp_path: Path, text_file: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"not at .*net\.onnx"):
        load(tmp_path)
    shutil.copy(text_file, tmp_path)
    with pytest.raises(WeightsMissing, match=r"no .*net\.yaml"):
        load(tmp_path)
    describe_onnx(tmp_path, TEXT)
    with pytest.raises(WeightsMissing, match=r"tokenizer\.json"):
        load(tmp_path)
    (tmp_path / "net.yaml").write_text("input: [")
    with pytest.raises(InvalidCatalogue, match=r"net\.yaml: cannot be read"):
        load(tmp_path)
    (tmp_path / "net.onnx").write_bytes(b"no graph")
    with pytest.raises((BackboneError, InvalidCatalogue)):
        load(tmp_path)


def test_numbers_in_another_file_are_part_of_the_fingerprint(
    tmp_path: Path, image_file: Path, photos: Photos
) -> None:
    import onnx

    onnx.save(
        onnx.load(image_file),
        tmp_path / "net.onnx",
        save_as_external_data=True,
        location="net.bin",
        size_threshold=0,
    )
    describe_onnx(tmp_path, ONNX_IMAGE)
    before = load(tmp_path)
    numbers = bytearray((tmp_path / "net.bin").read_bytes())
    numbers[2] ^= 1
    (tmp_path / "net.bin").write_bytes(numbers)
    after = load(tmp_path)
    assert after.fingerprint != before.fingerprint
    assert embed(after, photos).tobytes() != embed(before, photos).tobytes()
