"""Hugging Face's networks: folders that its libraries saved give what they compute themselves."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from models import Modality
from tests.models.catalogues import assert_close, assert_parts_join, embed, load_configured
from tests.models.networks import POSITIONS, TEXTS, save_image_network, save_text_network

pytestmark = pytest.mark.costly

Photos = list[NDArray[np.uint8]]


def token_states(network: Any, tokenizer: Any, texts: tuple[str, ...]) -> list[NDArray[Any]]:
    """What the library itself gives for each text on its own, without any padding."""
    import torch

    states = []
    for text in texts:
        encoded = tokenizer(text, truncation=True, max_length=POSITIONS, return_tensors="pt")
        with torch.inference_mode():
            states.append(network(**encoded).last_hidden_state[0].numpy())
    return states


Pool = Callable[[NDArray[Any]], NDArray[Any]]
POOLS: dict[str, Pool] = {
    "mean": lambda states: states.mean(axis=0),
    "cls": lambda states: states[0],
    "last": lambda states: states[-1],
}
TEXT_FAMILIES = {
    "bert": "mean",
    "roberta": "mean",
    "xlm-roberta": "mean",
    "distilbert": "mean",
    "gpt2": "last",
}


@pytest.mark.long
@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_text_embedding_equals_the_library(family: str, tmp_path: Path, cache_dir: Path) -> None:
    network, tokenizer = save_text_network(family, tmp_path / "saved")
    states = token_states(network, tokenizer, TEXTS)
    expected = np.stack([POOLS[TEXT_FAMILIES[family]](state) for state in states])
    engines = ["torch", "onnxruntime"]
    if family == "xlm-roberta":  # the same parts as RoBERTa's: one export less
        engines.pop()
    for engine in engines:
        backbone = load_configured(
            tmp_path,
            engine=engine,
            cache_dir=cache_dir,
            source="huggingface",
            weights="saved",
            tail_blocks=1,
        )
        assert (backbone.modality, backbone.dim) == (Modality.TEXT, 64)
        assert_close(embed(backbone, TEXTS), expected)
        assert_parts_join(backbone, TEXTS)
        assert len(backbone.preprocess(TEXTS[2]).data) == POSITIONS


@pytest.mark.parametrize("pooling", ["mean", "cls", "last"])
def test_pooling_and_length_are_as_configured(pooling: str, tmp_path: Path) -> None:
    network, tokenizer = save_text_network("bert", tmp_path / "saved")
    pooled = np.stack([POOLS[pooling](s) for s in token_states(network, tokenizer, TEXTS)])
    backbone = load_configured(
        tmp_path, source="huggingface", weights="saved", pooling=pooling, normalise=True
    )
    assert_close(embed(backbone, TEXTS), pooled / np.linalg.norm(pooled, axis=1, keepdims=True))
    assert backbone.tail_blocks == ("encoder.layer.2",)


def test_padding_token_inside_a_text_counts_as_roberta_counts_it(tmp_path: Path) -> None:
    network, tokenizer = save_text_network("roberta", tmp_path / "saved")
    (states,) = token_states(network, tokenizer, ("noon <pad><pad> it",))
    backbone = load_configured(tmp_path, source="huggingface", weights="saved")
    assert 1 in backbone.preprocess("noon <pad><pad> it").data
    assert_close(embed(backbone, ["noon <pad><pad> it"])[0], states.mean(axis=0))


@pytest.mark.parametrize(
    ("pooling", "normalise", "lowercase"), [("mean", True, False), ("cls", False, True)]
)
def test_sentence_transformers_folder_gives_what_the_library_gives(
    pooling: str, normalise: bool, lowercase: bool, tmp_path: Path
) -> None:
    save_text_network("bert", tmp_path / "bert")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize, Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        parts = [
            Transformer(str(tmp_path / "bert"), max_seq_length=12, do_lower_case=lowercase),
            Pooling(64, pooling_mode=pooling),
            *([Normalize()] if normalise else []),
        ]
        sentences = SentenceTransformer(modules=parts, device="cpu")
        sentences.save(str(tmp_path / "saved"))
        expected = sentences.encode(list(TEXTS))
    backbone = load_configured(tmp_path, source="huggingface", weights="saved")
    assert_close(embed(backbone, TEXTS), expected)
    assert len(backbone.preprocess(TEXTS[2]).data) == 12


@pytest.mark.long
@pytest.mark.parametrize("family", ["vit", "dinov2"])
def test_image_embedding_equals_the_library(
    family: str, tmp_path: Path, cache_dir: Path, photos: Photos
) -> None:
    import torch

    network, processor = save_image_network(family, tmp_path / "saved")
    pictures = [Image.fromarray(photo) for photo in photos]
    with torch.inference_mode():
        states = network(**processor(images=pictures, return_tensors="pt")).last_hidden_state
    for engine in ("torch", "onnxruntime"):
        backbone = load_configured(
            tmp_path, engine=engine, cache_dir=cache_dir, source="huggingface", weights="saved"
        )
        assert (backbone.modality, backbone.dim) == (Modality.IMAGE, 64)
        assert_close(embed(backbone, photos), states[:, 0].numpy())
        assert_parts_join(backbone, photos)
    patches = load_configured(tmp_path, source="huggingface", weights="saved", pooling="mean")
    assert_close(embed(patches, photos), states[:, 1:].mean(dim=1).numpy())


def test_image_processors_of_old_files_are_understood(tmp_path: Path, photos: Photos) -> None:
    save_image_network("vit", tmp_path / "saved")
    backbone = load_configured(tmp_path, source="huggingface", weights="saved")
    old = {
        "feature_extractor_type": "ViTFeatureExtractor",
        "size": 64,
        "resample": 2,
        "do_resize": True,
        "do_normalize": True,
        "image_mean": [127.5] * 3,
        "image_std": [127.5] * 3,
        "do_rescale": False,
    }
    (tmp_path / "saved" / "preprocessor_config.json").write_text(json.dumps(old))
    same = load_configured(tmp_path, source="huggingface", weights="saved")
    assert_close(embed(same, photos), embed(backbone, photos))


@pytest.mark.parametrize("family", ["distilbert", "gpt2"])
def test_tensors_have_the_librarys_names(family: str, tmp_path: Path) -> None:
    from models.networks.huggingface import text_network

    network, _ = save_text_network(family, tmp_path)
    ours = text_network(
        family,
        tmp_path / "model.safetensors",
        pooling="mean",
        normalise=False,
        tail_blocks=None,
    )
    assert {name for name, _ in ours.named_tensors()} == set(network.state_dict())
