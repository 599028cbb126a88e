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
from models.torchvision_ops import declare_missing_operators
from tests.models.catalogues import assert_close, assert_parts_join, embed, load_configured

Photos = list[NDArray[np.uint8]]

WORDS = "the loom stopped twice before noon and cloth shows it a good film terrible service"
TEXTS = ("A good film.", "the", "Terrible service! " * 20, "cloth and noon <pad> it", "loom")
POSITIONS = 40

SHAPE = {"num_hidden_layers": 3, "num_attention_heads": 4, "hidden_size": 64}
ENCODER = {**SHAPE, "intermediate_size": 96, "max_position_embeddings": POSITIONS}


def library() -> Any:
    declare_missing_operators()
    import transformers

    return transformers


def word_pieces(folder: Path, kind: str) -> Any:
    """A tokenizer of whole words and letters."""
    letters = [*"abcdefghijklmnopqrstuvwxyz.!<>", *(f"##{c}" for c in "abcdefghijklmnopqrstuvwxyz")]
    specials = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    names = dict.fromkeys([*specials, *WORDS.split(), *letters])
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = getattr(library(), kind)(vocab=vocabulary, model_max_length=POSITIONS)
    tokenizer.save_pretrained(folder)
    return tokenizer


def byte_pairs(folder: Path, kind: str) -> Any:
    """A tokenizer learned from a few words, in the old form: vocab.json and merges.txt."""
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    specials = ["<s>", "<pad>", "</s>", "<unk>", "<mask>", "<|endoftext|>"]
    trained.train_from_iterator([WORDS] * 3, vocab_size=300, special_tokens=specials)
    trained.save_model(str(folder))
    settings = {"model_max_length": POSITIONS, "tokenizer_class": kind}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return getattr(library(), kind).from_pretrained(folder)


def save_text_network(family: str, folder: Path) -> tuple[Any, Any]:
    """Make a network with random weights and a tokenizer, and save both as the library does."""
    import torch

    folder.mkdir(exist_ok=True)
    torch.manual_seed(7)
    hf = library()
    vocab = {"vocab_size": 300}
    if family == "bert":
        network = hf.BertModel(hf.BertConfig(**ENCODER, **vocab))
        tokenizer = word_pieces(folder, "BertTokenizer")
    elif family == "distilbert":
        config = hf.DistilBertConfig(
            dim=64, n_layers=3, n_heads=4, hidden_dim=96, max_position_embeddings=POSITIONS, **vocab
        )
        network, tokenizer = hf.DistilBertModel(config), word_pieces(folder, "DistilBertTokenizer")
    elif family == "gpt2":
        config = hf.GPT2Config(n_embd=64, n_layer=3, n_head=4, n_positions=POSITIONS, **vocab)
        network, tokenizer = hf.GPT2Model(config), byte_pairs(folder, "GPT2Tokenizer")
    else:
        positions = {"max_position_embeddings": POSITIONS + 2, "pad_token_id": 1}
        kind = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta"}[family]
        config = getattr(hf, f"{kind}Config")(**{**ENCODER, **positions}, **vocab)
        network = getattr(hf, f"{kind}Model")(config)
        tokenizer = byte_pairs(folder, "RobertaTokenizer")
    for parameter in network.parameters():  # fresh layers hardly tell tokens apart
        torch.nn.init.normal_(parameter, std=0.2)
    network.save_pretrained(folder)
    return network.eval(), tokenizer


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


def save_image_network(family: str, folder: Path) -> tuple[Any, Any]:
    import torch

    torch.manual_seed(7)
    hf = library()
    if family == "vit":
        network = hf.ViTModel(hf.ViTConfig(**SHAPE, intermediate_size=96, image_size=64))
        processor = hf.ViTImageProcessorPil(size={"height": 64, "width": 64})
    else:  # at another size than it was made for: positions are interpolated
        config = hf.Dinov2Config(**SHAPE, mlp_ratio=2, image_size=56, patch_size=14)
        network = hf.Dinov2Model(config)
        processor = hf.BitImageProcessorPil(
            size={"shortest_edge": 80}, crop_size={"height": 70, "width": 70}
        )
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    return network.eval(), processor


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
