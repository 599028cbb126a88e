"""Fingerprints, the export and its cache, and starting without torch."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from models import Backbone, BackboneError, CacheUnusable, InputLimits, load_backbone
from models.catalogue import EFFICIENTNET_LITE0, MINILM_L6_V2
from models.graph_paths import graph_path
from models.images import ImagePreprocessor
from models.texts import TextPreprocessor
from models.weights import fingerprint
from tests.models.networks import small_network

pytestmark = pytest.mark.costly

FRAMEWORKS = ("torch", "torchvision", "timm", "transformers", "onnxscript")

LOAD_AND_LIST_MODULES = f"""
import pathlib, sys
import numpy
from models import known_backbones, load_backbone
from models.tails import write_tail
given = {{"image": numpy.zeros((9, 9, 3), "uint8"), "text": "a word"}}
for name in known_backbones():
    backbone = load_backbone(
        name, engine="onnxruntime", device="cpu", cache_dir=pathlib.Path(sys.argv[1])
    )
    backbone.warm_up()
    prepared = [backbone.preprocess(given[backbone.modality])]
    tail = backbone.load_tail(write_tail(backbone.fingerprint, {{}}, whole=False))
    assert numpy.allclose(tail.run(backbone.activations(prepared)), backbone.forward(prepared))
    print(backbone.fingerprint)
print([name for name in {FRAMEWORKS} if name in sys.modules])
"""

EXPORT_AND_WAIT_HALFWAY = """
import pathlib, sys
import numpy
from tests.models.networks import small_network
from models.export import export_graph

class Waiting(dict):
    def __getitem__(self, name):
        print("halfway", flush=True)
        sys.stdin.readline()
        return super().__getitem__(name)

example = {"given": numpy.ones((2, 3), "float32")}
export_graph(small_network(), example, Waiting(given=(0,)), pathlib.Path(sys.argv[1]))
"""


def python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", code, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def test_exported_backbones_load_without_importing_a_framework(
    image_backbone: Backbone, text_backbone: Backbone, cache_dir: Path
) -> None:
    process = python(LOAD_AND_LIST_MODULES, str(cache_dir))
    output, errors = process.communicate()
    assert process.returncode == 0, errors
    *fingerprints, imported = output.splitlines()
    assert fingerprints == [image_backbone.fingerprint, text_backbone.fingerprint]
    assert imported == "[]"


def test_export_leaves_the_whole_its_parts_and_their_weights_under_the_fingerprint(
    text_backbone: Backbone, cache_dir: Path
) -> None:
    graph = graph_path(cache_dir / text_backbone.fingerprint)
    names = {"whole.onnx", "prefix.onnx", "tail.onnx", "prefix.safetensors", "tail.safetensors"}
    assert {path.name for path in graph.parent.iterdir()} == names


def test_cached_graph_is_used_as_it_is(
    text_backbone: Backbone, cache_dir: Path, tmp_path: Path
) -> None:
    copy = graph_path(tmp_path / text_backbone.fingerprint)
    copy.parent.mkdir(parents=True)
    copy.write_bytes(b"not a graph")
    with pytest.raises(BackboneError, match=f"delete {copy.parent} to export it") as caught:
        load_backbone("minilm/l6-v2", engine="onnxruntime", device="cpu", cache_dir=tmp_path)
    assert str(copy) in str(caught.value)
    assert copy.read_bytes() == b"not a graph"


@pytest.mark.parametrize(
    ("name", "words"), [("a file", "Not a directory"), ("a link", "File exists")]
)
def test_folder_of_graphs_that_cannot_be_written_is_named_before_anything_is_exported(
    name: str, words: str, tmp_path: Path
) -> None:
    (tmp_path / "a file").write_bytes(b"no folder")
    (tmp_path / "a link").symlink_to(tmp_path / "nothing")
    with pytest.raises(CacheUnusable, match=f"minilm/l6-v2 cannot be exported to .*: {words}"):
        load_backbone("minilm/l6-v2", engine="onnxruntime", device="cpu", cache_dir=tmp_path / name)


@pytest.mark.long
def test_two_processes_may_export_at_once(tmp_path: Path) -> None:
    from models.engines.onnxruntime import OnnxRuntimeEngine
    from models.export import export_graph

    graph = tmp_path / "deep" / "graph.onnx"
    process = python(EXPORT_AND_WAIT_HALFWAY, str(graph))
    assert process.stdout
    assert process.stdout.readline() == "halfway\n"
    example = {"given": np.ones((2, 3), np.float32)}
    export_graph(small_network(), example, {"given": (0,)}, graph)
    first = graph.stat().st_ino
    _, errors = process.communicate("go\n")
    assert process.returncode == 0, errors
    assert graph.stat().st_ino == first
    assert {path.name for path in graph.parent.iterdir()} == {graph.name, "prefix.safetensors"}
    assert list(tmp_path.iterdir()) == [graph.parent]
    engine = OnnxRuntimeEngine(graph, "cpu", threads=1)
    assert engine.run({"given": np.zeros((5, 3), np.float32)}).shape == (5, 2)


def test_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    from models.export import export_graph

    target = tmp_path / "graphs"
    target.write_bytes(b"in the way")
    example = {"given": np.ones((2, 3), np.float32)}
    with pytest.raises(OSError, match="directory"):
        export_graph(small_network(), example, {"given": (0,)}, target / "whole.onnx")
    assert list(tmp_path.iterdir()) == [target]


# The fingerprint.


def test_fingerprint_changes_with_one_bit_of_the_weights(tmp_path: Path) -> None:
    files = dict(EFFICIENTNET_LITE0.files())
    preprocessor = ImagePreprocessor(224, InputLimits())
    before = EFFICIENTNET_LITE0.fingerprint(files, preprocessor, "float32")
    weights = bytearray(files["weights"].read_bytes())
    files["weights"] = tmp_path / "weights"
    files["weights"].write_bytes(weights)
    assert EFFICIENTNET_LITE0.fingerprint(files, preprocessor, "float32") == before
    weights[len(weights) // 2] ^= 1
    files["weights"].write_bytes(weights)
    assert EFFICIENTNET_LITE0.fingerprint(files, preprocessor, "float32") != before


def test_weights_that_cannot_be_read_are_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(BackboneError, match=f"{tmp_path} cannot be read"):
        fingerprint({"weights": tmp_path}, {})


def test_fingerprint_changes_with_all_that_changes_an_embedding() -> None:
    files = EFFICIENTNET_LITE0.files()
    preprocessor = ImagePreprocessor(224, InputLimits())
    marks = {
        EFFICIENTNET_LITE0.fingerprint(files, preprocessor, "float32"),
        EFFICIENTNET_LITE0.fingerprint(files, preprocessor, "bfloat16"),
        EFFICIENTNET_LITE0.fingerprint(files, ImagePreprocessor(240, InputLimits()), "float32"),
        replace(EFFICIENTNET_LITE0, revision=2).fingerprint(files, preprocessor, "float32"),
    }
    assert len(marks) == 4


def test_fingerprint_changes_with_the_decoder(monkeypatch: pytest.MonkeyPatch) -> None:
    image = ImagePreprocessor(224, InputLimits())
    text = TextPreprocessor(MINILM_L6_V2.files()["tokenizer"], 256, InputLimits())
    before = [fingerprint({}, {"preprocessing": it.parameters}) for it in (image, text)]
    monkeypatch.setattr("PIL.__version__", "0.0")
    monkeypatch.setattr("tokenizers.__version__", "0.0")
    after = [fingerprint({}, {"preprocessing": it.parameters}) for it in (image, text)]
    assert not set(before) & set(after)


def test_fingerprint_does_not_change_with_limits_that_only_refuse() -> None:
    files = EFFICIENTNET_LITE0.files()
    marks = {
        EFFICIENTNET_LITE0.fingerprint(files, ImagePreprocessor(224, limits), "float32")
        for limits in (InputLimits(), InputLimits(max_pixels=9))
    }
    assert len(marks) == 1


# torchvision beside a torch it was not built for.


def test_torchvision_imports_and_missing_operators_still_fail_when_called() -> None:
    code = """
from models.torchvision_ops import declare_missing_operators
library = declare_missing_operators()
assert declare_missing_operators() is library
import torch, torchvision
boxes = torch.tensor([[0.0, 0, 1, 1]])
if library is None:
    assert torchvision.ops.nms(boxes, torch.ones(1), 0.5).tolist() == [0]
else:
    try:
        torch.ops.torchvision.nms(boxes, torch.ones(1), 0.5)
    except NotImplementedError:
        pass
    else:
        raise SystemExit("a declared operator ran")
"""
    process = python(code)
    _, errors = process.communicate()
    assert process.returncode == 0, errors
