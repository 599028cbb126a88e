"""Folders of Hugging Face: what makes their fingerprint, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from models import BackboneError, InvalidCatalogue, WeightsMissing
from models.catalogue.folders import find_tokenizer
from tests.models.catalogues import assert_close, embed, load_configured
from tests.models.networks import TEXTS, save_image_network, save_text_network


def test_changed_files_give_a_new_fingerprint(tmp_path: Path) -> None:
    save_text_network("bert", tmp_path / "saved")

    def fingerprint(**fields: Any) -> str:
        backbone = load_configured(tmp_path, source="huggingface", weights="saved", **fields)
        return backbone.fingerprint

    before = fingerprint()
    assert fingerprint() == before
    marks = {before, fingerprint(pooling="cls"), fingerprint(max_tokens=8)}
    tokenizer = tmp_path / "saved" / "tokenizer.json"
    tokenizer.write_text(tokenizer.read_text().replace("[MASK]", "[mask]"))
    marks.add(fingerprint())
    weights = tmp_path / "saved" / "model.safetensors"
    changed = bytearray(weights.read_bytes())
    changed[-3] ^= 1
    weights.write_bytes(changed)
    marks.add(fingerprint())
    assert len(marks) == 5


@pytest.mark.parametrize("beside", ["special_tokens_map.json", "added_tokens.json"])
def test_all_that_a_tokenizer_of_an_old_kind_is_made_of_is_hashed(
    tmp_path: Path, beside: str
) -> None:
    for name in ("vocab.txt", "tokenizer_config.json", beside):
        (tmp_path / name).touch()
    assert set(find_tokenizer(tmp_path)) == {"vocab.txt", "tokenizer_config.json", beside}
    (tmp_path / "tokenizer.json").touch()  # it holds what they say
    assert set(find_tokenizer(tmp_path)) == {"tokenizer.json", "tokenizer_config.json"}


def test_several_files_of_weights_load_and_are_all_hashed(tmp_path: Path) -> None:
    network, _ = save_text_network("bert", tmp_path / "saved")
    common = {"source": "huggingface", "weights": "saved"}
    whole = load_configured(tmp_path, **common)
    expected = embed(whole, TEXTS)
    (tmp_path / "saved" / "model.safetensors").unlink()
    network.save_pretrained(tmp_path / "saved", max_shard_size="60KB")
    parts = sorted((tmp_path / "saved").glob("model-*.safetensors"))
    assert len(parts) > 1
    backbone = load_configured(tmp_path, **common)
    assert_close(embed(backbone, TEXTS), expected)
    parts[0].unlink()
    with pytest.raises(WeightsMissing, match=parts[0].name):
        load_configured(tmp_path, **common)


# What is refused.


def test_what_is_missing_in_a_folder_is_named(tmp_path: Path) -> None:
    common = {"source": "huggingface", "weights": "saved"}
    with pytest.raises(WeightsMissing, match=r"no folder .*saved"):
        load_configured(tmp_path, **common)
    save_text_network("bert", tmp_path / "saved")
    for name in ("model.safetensors", "tokenizer.json", "config.json"):
        (tmp_path / "saved" / name).unlink()
        with pytest.raises(WeightsMissing, match=name):
            load_configured(tmp_path, **common)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_text_network("bert", tmp_path / "saved")
    save_text_network("gpt2", tmp_path / "other")
    (tmp_path / "other" / "model.safetensors").replace(tmp_path / "saved" / "model.safetensors")
    with pytest.raises(BackboneError, match="does not fit BertModel: it lacks"):
        load_configured(tmp_path, source="huggingface", weights="saved")
    (tmp_path / "saved" / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(BackboneError, match="cannot be loaded as BertModel"):
        load_configured(tmp_path, source="huggingface", weights="saved")


def test_what_a_folder_asks_for_and_nobody_knows_is_refused(tmp_path: Path) -> None:
    saved = tmp_path / "saved"
    save_text_network("bert", saved)
    common = {"source": "huggingface", "weights": "saved"}
    with pytest.raises(InvalidCatalogue, match="max_tokens: must be at most 40"):
        load_configured(tmp_path, **common, max_tokens=41)
    modules = [{"path": "", "type": "sentence_transformers.models.Dense"}]
    (saved / "modules.json").write_text(json.dumps(modules))
    with pytest.raises(BackboneError, match="modules Dense are not supported"):
        load_configured(tmp_path, **common)
    (saved / "modules.json").write_text("{")
    with pytest.raises(BackboneError, match=r"modules\.json cannot be read"):
        load_configured(tmp_path, **common)
    (saved / "modules.json").unlink()
    (saved / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(BackboneError, match=r"model_type must be one of bert, .* is 'mamba'"):
        load_configured(tmp_path, **common)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("config.json", "[]"),
        ("config.json", '{"model_type": "bert"}'),
        ("config.json", '{"model_type": "bert", "max_position_embeddings": "many"}'),
        ("model.safetensors.index.json", '{"weight_map": []}'),
    ],
)
def test_files_that_say_nonsense_are_refused(tmp_path: Path, file: str, content: str) -> None:
    (tmp_path / "tokenizer.json").touch()
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": 8}')
    (tmp_path / file).write_text(content)
    with pytest.raises(BackboneError, match="cannot be understood"):
        load_configured(tmp_path, source="huggingface", weights=".")


def test_pooling_of_an_image_has_no_last_token(tmp_path: Path) -> None:
    save_image_network("vit", tmp_path / "saved")
    with pytest.raises(InvalidCatalogue, match="pooling: must be cls or mean"):
        load_configured(tmp_path, source="huggingface", weights="saved", pooling="last")
    processor = tmp_path / "saved" / "preprocessor_config.json"
    processor.write_text('{"image_processor_type": "CLIPImageProcessor"}')
    with pytest.raises(BackboneError, match="image_processor_type must be one of"):
        load_configured(tmp_path, source="huggingface", weights="saved")
