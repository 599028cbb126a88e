"""Names, the catalogue file, and where weights are looked for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import (
    BackboneError,
    InputLimits,
    InvalidCatalogue,
    UnknownBackbone,
    WeightsMissing,
    check_backbones,
    downloads,
    known_backbones,
    load_backbone,
)
from models.catalogue import EFFICIENTNET_LITE0, MINILM_L6_V2
from models.catalogue.entries import Entry, read_entries, shorthand
from tests.models.catalogues import NAME, embed, load_configured, write_catalogue
from tests.models.networks import (
    TEXTS,
    save_text_network,
    save_timm_network,
    save_torchvision_network,
)

pytestmark = pytest.mark.costly

Photos = list[NDArray[np.uint8]]

ONLY_NAMES = """
import sys
from models import check_backbones
check_backbones(["torchvision/resnet18", "timm/resnet18.a1_in1k", "huggingface/org/name"])
print([name for name in ("torch", "torchvision", "timm", "transformers") if name in sys.modules])
"""

WITHOUT_FRAMEWORK = """
import pathlib, sys
from models import load_backbone
folder = pathlib.Path(sys.argv[1])
backbone = load_backbone(
    "own/model", engine="onnxruntime", device="cpu", cache_dir=pathlib.Path(sys.argv[2]),
    catalogue=folder / "catalogue.toml",
)
backbone.warm_up()
print([name for name in ("torch", "transformers") if name in sys.modules])
"""


def output_of(code: str, *arguments: str) -> str:
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout


# The backbones that come along.


def test_fingerprints_of_the_embedded_backbones_depend_on_what_they_always_did() -> None:
    for spec in (EFFICIENTNET_LITE0, MINILM_L6_V2):
        assert not spec.facts  # anything there would make every head of today's retrain
        preprocessor = spec.preprocessor(spec.files(), InputLimits())
        assert {"padding", "lowercase", "crop"}.isdisjoint(preprocessor.parameters)


def test_known_backbones_are_the_embedded_ones_and_those_of_the_file(tmp_path: Path) -> None:
    assert known_backbones() == ("efficientnet/lite0", "minilm/l6-v2")
    path = write_catalogue(tmp_path, source="timm", model="resnet18")
    assert known_backbones(path) == ("efficientnet/lite0", "minilm/l6-v2", NAME)


# Names.


@pytest.mark.parametrize(
    ("name", "source", "model"),
    [
        ("torchvision/resnet18", "torchvision", "resnet18"),
        ("timm/resnet18.a1_in1k", "timm", "resnet18.a1_in1k"),
        ("huggingface/bert-base-uncased", "huggingface", "bert-base-uncased"),
        ("huggingface/org/some.name_v2", "huggingface", "org/some.name_v2"),
    ],
)
def test_shorthand_names_source_and_model(name: str, source: str, model: str) -> None:
    entry = shorthand(name)
    assert entry is not None
    assert (entry.source, entry.model) == (source, model)


@pytest.mark.parametrize(
    "name",
    ["resnet18", "torchvision/", "torchvision", "onnx/net", "timm/../x", "timm/a b", "timm//a"],
)
def test_other_names_are_unknown_unless_they_are_configured(name: str, tmp_path: Path) -> None:
    assert shorthand(name) is None
    with pytest.raises(UnknownBackbone, match="known: efficientnet/lite0, minilm/l6-v2, and torch"):
        load_backbone(name, cache_dir=tmp_path)


def test_names_are_checked_without_any_library() -> None:
    assert output_of(ONLY_NAMES).strip() == "[]"
    with pytest.raises(UnknownBackbone, match="resnet/50"):
        check_backbones(["minilm/l6-v2", "resnet/50"])


def test_configured_name_wins_over_a_shorthand(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.toml"
    path.write_text('[backbones."timm/resnet18"]\nsource = "timm"\nmodel = "resnet18d"\n')
    check_backbones(["timm/resnet18"], path)
    assert read_entries(path)["timm/resnet18"].model == "resnet18d"


# The file.


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    path = write_catalogue(tmp_path, source="timm", model="resnet18", weights="deep/w.pth")
    assert read_entries(path)[NAME].weights == tmp_path / "deep" / "w.pth"
    path = write_catalogue(tmp_path, source="timm", model="resnet18", weights="/else/w.pth")
    assert read_entries(path)[NAME].weights == Path("/else/w.pth")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"model": "resnet18"}, "source: Field required"),
        ({"source": "keras", "model": "x"}, "source: .*'torchvision', 'timm', .*, is 'keras'"),
        ({"source": "timm"}, "model: is needed"),
        ({"source": "onnx"}, "weights: the ONNX file is needed"),
        ({"source": "huggingface"}, "model, weights: a repository or a folder is needed"),
        ({"source": "timm", "model": "x", "layers": 3}, "layers: .*not permitted, is 3"),
        ({"source": "timm", "model": "x", "image_size": 4}, "image_size: .* 16, is 4"),
        ({"source": "timm", "model": "x", "image_size": 5000}, "image_size: .* 1024, is 5000"),
        ({"source": "timm", "model": "x", "tail_blocks": -1}, "tail_blocks: .* 0, is -1"),
        ({"source": "huggingface", "model": "x", "max_tokens": 1}, "max_tokens: .* 3, is 1"),
        ({"source": "huggingface", "model": "x", "pooling": "max"}, "pooling: .*, is 'max'"),
        ({"source": "timm", "model": "x", "pooling": "cls"}, "pooling: is for huggingface, not"),
        ({"source": "timm", "model": "x", "revision": "v1"}, "revision: is for torchvision, hug"),
    ],
)
def test_wrong_field_is_named_with_its_limit_and_value(
    fields: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InvalidCatalogue, match=words) as caught:
        read_entries(write_catalogue(tmp_path, **fields))
    assert f'{tmp_path / "catalogue.toml"}, [backbones."{NAME}"]' in str(caught.value)


@pytest.mark.parametrize(
    "text",
    ["[backbones", "[models.x]", "backbones = 3", '[backbones.resnet]\nsource = "timm"', "\xff"],
)
def test_file_that_is_no_catalogue_is_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidCatalogue, match=r"c\.toml"):
        check_backbones(["minilm/l6-v2"], path)


def test_embedded_names_cannot_be_taken_and_a_file_has_to_be_there(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    with pytest.raises(InvalidCatalogue, match="cannot be read"):
        known_backbones(path)
    path.write_text('[backbones."minilm/l6-v2"]\nsource = "timm"\nmodel = "resnet18"\n')
    with pytest.raises(InvalidCatalogue, match="minilm/l6-v2 comes with Trunkline already"):
        known_backbones(path)


def test_entry_cannot_be_changed() -> None:
    entry = Entry(source="timm", model="resnet18")
    with pytest.raises(ValueError, match="frozen"):
        entry.model = "resnet50"


# Where weights are looked for.


@pytest.fixture
def nobody_answers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Empty caches, and a network on which nobody answers."""
    from huggingface_hub import constants

    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path


def load_shorthand(name: str, folder: Path) -> Any:
    return load_backbone(name, engine="torch", device="cpu", cache_dir=folder / "cache", threads=1)


def in_the_hubs_cache(folder: Path, repository: str) -> Path:
    """Make an empty snapshot of a repository, as the hub's library lays it out."""
    own = folder / "hub" / f"models--{repository.replace('/', '--')}"
    snapshot = own / "snapshots" / ("0" * 40)
    snapshot.mkdir(parents=True)
    (own / "refs").mkdir()
    (own / "refs" / "main").write_text("0" * 40)
    return snapshot


def test_weights_in_the_libraries_caches_are_found(nobody_answers: Path, photos: Photos) -> None:
    checkpoints = nobody_answers / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    save_torchvision_network("mobilenet_v3_small", checkpoints / "mobilenet_v3_small-047dcff4.pth")
    backbone = load_shorthand("torchvision/mobilenet_v3_small", nobody_answers)
    assert embed(backbone, photos).shape == (2, 1024)

    snapshot = in_the_hubs_cache(nobody_answers, "timm/test_vit.r160_in1k")
    save_timm_network("test_vit.r160_in1k", snapshot / "model.safetensors")
    backbone = load_shorthand("timm/test_vit.r160_in1k", nobody_answers)
    assert embed(backbone, photos).shape == (2, 64)

    save_text_network("bert", in_the_hubs_cache(nobody_answers, "org/small-bert"))
    backbone = load_shorthand("huggingface/org/small-bert", nobody_answers)
    assert embed(backbone, TEXTS).shape == (5, 64)


def test_missing_weights_error_says_what_to_put_where_or_what_to_run(nobody_answers: Path) -> None:
    with pytest.raises(WeightsMissing, match="does not answer") as caught:
        load_shorthand("torchvision/resnet18", nobody_answers)
    path = nobody_answers / "torch" / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    assert f"curl --create-dirs -o {path} https://download" in str(caught.value)
    with pytest.raises(WeightsMissing, match=r"hf download timm/test_vit\.r160_in1k;"):
        load_shorthand("timm/test_vit.r160_in1k", nobody_answers)
    with pytest.raises(WeightsMissing, match="hf download org/name;") as caught:
        load_shorthand("huggingface/org/name", nobody_answers)
    assert str(nobody_answers / "hub") in str(caught.value)


def test_part_of_a_repository_in_the_cache_is_not_enough(nobody_answers: Path) -> None:
    snapshot = in_the_hubs_cache(nobody_answers, "org/part")
    save_text_network("bert", snapshot)
    (snapshot / "model.safetensors").unlink()
    with pytest.raises(WeightsMissing, match="hf download org/part"):
        load_shorthand("huggingface/org/part", nobody_answers)


def test_hub_that_is_not_to_be_asked_is_not(
    nobody_answers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(WeightsMissing, match="HF_HUB_OFFLINE is set"):
        load_shorthand("huggingface/org/name", nobody_answers)


@pytest.mark.parametrize(
    "name", ["torchvision/resnet18", "timm/test_vit.r160_in1k", "huggingface/org/name"]
)
def test_nobody_is_asked_for_weights_where_nothing_may_be_downloaded(
    name: str, nobody_answers: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    asked: list[str] = []
    monkeypatch.setattr(downloads, "_unreachable", asked.append)
    with pytest.raises(WeightsMissing, match="cannot be downloaded: offline is set") as caught:
        load_backbone(name, cache_dir=nobody_answers / "cache", offline=True)
    assert asked == []
    assert "where there is a network: " in str(caught.value)


def test_revision_is_part_of_the_command(nobody_answers: Path) -> None:
    with pytest.raises(WeightsMissing, match="hf download org/name --revision v2;"):
        load_configured(nobody_answers, source="huggingface", model="org/name", revision="v2")


def test_name_that_no_repository_can_have_is_unknown(nobody_answers: Path) -> None:
    with pytest.raises(UnknownBackbone, match="names no repository"):
        load_shorthand("huggingface/a/b/c", nobody_answers)


def test_weights_that_were_configured_and_are_not_there_are_missing(tmp_path: Path) -> None:
    with pytest.raises(WeightsMissing, match=r"not at .*w\.pth: put the file there"):
        load_configured(tmp_path, source="torchvision", model="resnet18", weights="w.pth")


def test_folder_of_an_embedded_backbone_gives_its_embeddings(tmp_path: Path) -> None:
    folder = MINILM_L6_V2.files()["weights"].parent
    backbone = load_configured(tmp_path, source="huggingface", weights=str(folder))
    embedded = load_backbone(MINILM_L6_V2.name, engine="torch", device="cpu", cache_dir=tmp_path)
    np.testing.assert_allclose(embed(backbone, TEXTS), embed(embedded, TEXTS), atol=1e-4)
    assert backbone.tail_blocks == embedded.tail_blocks


def test_exported_text_backbone_loads_without_importing_a_framework(
    tmp_path: Path, cache_dir: Path
) -> None:
    save_text_network("bert", tmp_path / "saved")
    fields = {"source": "huggingface", "weights": "saved", "tail_blocks": 1}
    load_configured(tmp_path, engine="onnxruntime", cache_dir=cache_dir, **fields)
    assert output_of(WITHOUT_FRAMEWORK, str(tmp_path), str(cache_dir)).strip() == "[]"


def test_backbone_error_is_the_root_of_all_of_them() -> None:
    assert issubclass(InvalidCatalogue, BackboneError)
