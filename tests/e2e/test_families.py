"""Every family of backbones, configured in a catalogue file, trains heads and predicts."""

from __future__ import annotations

import io
import json
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.processes import Running, serve_command
from tests.models.networks import (
    ONNX_IMAGE,
    describe_onnx,
    export_onnx,
    onnx_image_network,
    save_image_network,
    save_text_network,
    save_timm_network,
    save_torchvision_network,
)
from trunkline import Prediction

NOUNS = ("film", "loom", "cloth", "noon", "service")
TORCHVISION = ("resnet18", "mobilenet_v3_small")
LARGER = ("efficientnet_b0", "vgg11")
TEXT_FAMILIES = ("bert", "roberta", "distilbert", "gpt2", "sentences")
IMAGE_FAMILIES = ("vit", "dinov2")
IMAGES = (*(f"torchvision/own-{model}" for model in TORCHVISION), "timm/own")
FAMILIES = (
    *IMAGES,
    *(f"huggingface/own-{family}" for family in (*TEXT_FAMILIES, *IMAGE_FAMILIES)),
)


def pictures(*, bright: bool) -> list[bytes]:
    """Noise, as PNG files."""
    random, least = np.random.default_rng(int(bright)), 130 * bright
    files = []
    for _ in range(5):
        stream = io.BytesIO()
        pixels = random.integers(least, least + 90, (60, 80, 3), np.uint8)
        Image.fromarray(pixels).save(stream, "PNG")
        files.append(stream.getvalue())
    return files


def save_sentences(folder: Path) -> None:
    save_text_network("bert", folder / "inner")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize, Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        parts = [Transformer(str(folder / "inner")), Pooling(64), Normalize()]
        SentenceTransformer(modules=parts, device="cpu").save(str(folder / "saved-sentences"))


def save_image_classifier(model: str, folder: Path) -> dict[str, object]:
    """Save a network of torchvision; return the fields that name it."""
    save_torchvision_network(model, folder / f"{model}.pth")
    weights = f"{model}.pth"
    return {"source": "torchvision", "model": model, "weights": weights, "image_size": 64}


def save_all(folder: Path) -> Path:
    """Save a small network of every family; return the catalogue file that names them."""
    tables: dict[str, dict[str, object]] = {}
    for model in TORCHVISION:
        tables[f"torchvision/own-{model}"] = save_image_classifier(model, folder)
    save_timm_network("test_vit", folder / "timm.safetensors")
    tables["timm/own"] = {"source": "timm", "model": "test_vit", "weights": "timm.safetensors"}
    save_sentences(folder)
    for family in TEXT_FAMILIES[:-1]:
        save_text_network(family, folder / f"saved-{family}")
    for family in IMAGE_FAMILIES:
        save_image_network(family, folder / f"saved-{family}")
    for family in (*TEXT_FAMILIES, *IMAGE_FAMILIES):
        tables[f"huggingface/own-{family}"] = {
            "source": "huggingface",
            "weights": f"saved-{family}",
        }
    return write(folder, tables)


def write(folder: Path, tables: dict[str, dict[str, object]]) -> Path:
    lines = []
    for name, fields in tables.items():
        lines.append(f'[backbones."{name}"]')
        lines += [f"{field} = {json.dumps(value)}" for field, value in fields.items()]
    path = folder / "catalogue.toml"
    path.write_text("\n".join(lines))
    return path


def serve(folder: Path, engine: str, names: tuple[str, ...]) -> Running:
    command = serve_command(
        folder / "data",
        *("--catalogue", str(folder / "catalogue.toml"), "--cache-dir", str(folder / "cache")),
        *("--engine", engine, "--device", "cpu", "--backbone", ",".join(names)),
    )
    return Running.start(command, folder / "log")


@pytest.fixture(scope="module")
def families() -> Iterator[Running]:
    """A server with a backbone of every family that torch runs; their weights go with it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        save_all(folder)
        running = serve(folder, "torch", FAMILIES)
        try:
            yield running.wait_until_serving()
        finally:
            running.close()


def labelled(modality: str) -> list[tuple[str | bytes, str]]:
    if modality == "text":
        return [(f"{word} {word} {noun}", word) for word in ("good", "terrible") for noun in NOUNS]
    return [
        (file, f"bright {bright}") for bright in (False, True) for file in pictures(bright=bright)
    ]


def check_that_it_learns(server: Running, backbone: str) -> None:
    with server.client() as client:
        found = {row.name: row for row in client.backbones()}[backbone]
        examples = labelled(found.modality)
        head = f"acme/{backbone.replace('/', '-')}"
        client.create_head(head, backbone)
        client.upload(head, examples)
        client.train(head)
        rows = client.predict(head, [raw for raw, _ in examples])
        labels = [row.label for row in rows if isinstance(row, Prediction)]
        assert labels == [label for _, label in examples]


def check_a_server_that_learns(folder: Path, engine: str) -> None:
    server = serve(folder, engine, ("own/net",))
    try:
        check_that_it_learns(server.wait_until_serving(), "own/net")
    finally:
        server.close()


@pytest.mark.long
@pytest.mark.parametrize("backbone", FAMILIES)
def test_head_on_a_backbone_of_each_family_learns_and_predicts(
    backbone: str, families: Running
) -> None:
    check_that_it_learns(families, backbone)


@pytest.mark.long
@pytest.mark.parametrize("model", LARGER)
def test_head_on_a_larger_network_learns_and_predicts(model: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, {"own/net": save_image_classifier(model, folder)})
        check_a_server_that_learns(folder, "torch")


@pytest.mark.long
def test_head_on_an_onnx_file_learns_and_predicts(tmp_path: Path) -> None:
    import torch

    example = {"pixels": torch.zeros(2, 3, 32, 32)}
    export_onnx(onnx_image_network(), tmp_path / "net.onnx", example, ["features"])
    describe_onnx(tmp_path, ONNX_IMAGE)
    write(tmp_path, {"own/net": {"source": "onnx", "weights": "net.onnx"}})
    check_a_server_that_learns(tmp_path, "auto")


@pytest.mark.long
def test_server_does_not_start_without_the_weights_and_says_where_they_belong(
    tmp_path: Path,
) -> None:
    fields: dict[str, object] = {"source": "timm", "model": "test_vit", "weights": "w.safetensors"}
    write(tmp_path, {"own/net": fields})
    server = serve(tmp_path, "torch", ("own/net",))
    try:
        with pytest.raises(AssertionError, match="ended with status"):
            server.wait_until_serving()
    finally:
        server.close()
    assert f"not at {tmp_path / 'w.safetensors'}" in server.log.read_text()
