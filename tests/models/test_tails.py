"""Cut backbones and tenants' tails, on both engines, against the libraries' own networks.

Tolerances are absolute. Image features reach about 3, text embeddings are unit vectors.
"""

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import Backbone, BackboneError, PreparedInput, load_backbone
from models.catalogue import EFFICIENTNET_LITE0, MINILM_L6_V2
from models.tails import tail_fingerprint, write_tail
from models.torchvision_ops import declare_missing_operators
from tests.models.conftest import TEXTS as LONG_TEXTS

pytestmark = pytest.mark.costly

TOLERANCE = 1e-4
TEXTS = [text[:200] for text in LONG_TEXTS]

Tensors = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Reference:
    """The library's own network, with the published weights.

    Attributes:
        tensors: its parameters, by name.
        blocks: those after the cut, by the beginnings of their names.
        embed: runs it on the inputs with other numbers in some parameters.
    """

    tensors: Tensors
    blocks: tuple[str, ...]
    embed: Callable[[Tensors], NDArray[Any]]

    def changed(self, *blocks: str, seed: int = 0) -> dict[str, NDArray[np.float32]]:
        """Parameters of blocks, each moved by a twentieth of its own size at random."""
        rng = np.random.default_rng(seed)
        return {
            name: tensor + 0.05 * np.abs(tensor).mean() * rng.normal(size=tensor.shape).astype("f")
            for name, tensor in self.tensors.items()
            if name.startswith(blocks or self.blocks)
        }


@dataclass(frozen=True)
class Case:
    backbone: Backbone
    inputs: list[PreparedInput]
    reference: Reference

    def rows(self, whole: bool) -> list[NDArray[Any]]:
        if whole:
            return [prepared.data for prepared in self.inputs]
        return list(self.backbone.activations(self.inputs))

    def file(self, tensors: Tensors, whole: bool = False) -> bytes:
        return write_tail(self.backbone.fingerprint, tensors, whole=whole)


def reference_of(network: Any, blocks: tuple[str, ...], run: Callable[[], Any]) -> Reference:
    import torch

    published = {
        name: tensor.detach().clone()
        for name, tensor in network.named_parameters()
        if not name.startswith(("classifier.", "pooler."))  # no embedding passes them
    }

    def embed(changed: Tensors) -> NDArray[Any]:
        own = {name: torch.from_numpy(tensor) for name, tensor in changed.items()}
        assert not network.load_state_dict(published | own, strict=False).unexpected_keys
        with torch.inference_mode():
            return np.asarray(run())

    return Reference({name: t.numpy() for name, t in published.items()}, blocks, embed)


@pytest.fixture(scope="module")
def timm_reference(photos: list[NDArray[np.uint8]], image_backbone: Backbone) -> Reference:
    import torch

    declare_missing_operators()
    import timm

    from models.networks.efficientnet_lite import efficientnet_lite0

    network: Any = timm.create_model("tf_efficientnet_lite0").eval()
    published = efficientnet_lite0(EFFICIENTNET_LITE0.files()["weights"])
    network.load_state_dict(dict(published.named_tensors()), strict=False)
    pixels = np.stack([image_backbone.preprocess(photo).data for photo in photos])
    batch = (torch.from_numpy(pixels.astype("f").transpose(0, 3, 1, 2)) - 127) / 128
    blocks = ("blocks.5.", "blocks.6.", "conv_head.", "bn2.")
    return reference_of(network, blocks, lambda: network.forward_features(batch).mean(dim=(2, 3)))


@pytest.fixture(scope="module")
def sentence_reference() -> Reference:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from sentence_transformers import SentenceTransformer

        folder = MINILM_L6_V2.files()["weights"].parent
        network: Any = SentenceTransformer(str(folder), device="cpu")
    bert = network[0].auto_model
    blocks = ("encoder.layer.4.", "encoder.layer.5.")
    return reference_of(bert, blocks, lambda: network.encode(TEXTS))


@pytest.fixture(scope="module", params=["onnxruntime", "torch"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module", params=["image", "text"])
def case(
    engine: str,
    request: pytest.FixtureRequest,
    cache_dir: Path,
    photos: list[NDArray[np.uint8]],
) -> Iterator[Case]:
    image = request.param == "image"
    name = "efficientnet/lite0" if image else "minilm/l6-v2"
    reference = request.getfixturevalue("timm_reference" if image else "sentence_reference")
    backbone = load_backbone(name, engine=engine, device="cpu", cache_dir=cache_dir, threads=1)
    raw: Sequence[Any] = photos if image else TEXTS
    yield Case(backbone, [backbone.preprocess(one) for one in raw], reference)
    backbone.close()


@pytest.fixture
def image(image_backbone: Backbone, timm_reference: Reference, photos: list[Any]) -> Case:
    prepared = [image_backbone.preprocess(photo) for photo in photos]
    return Case(image_backbone, prepared, timm_reference)


def assert_close(one: NDArray[Any], other: NDArray[Any]) -> None:
    assert one.dtype == np.float32
    np.testing.assert_allclose(one, other, rtol=0, atol=TOLERANCE)


# Two parts are the whole.


def test_prefix_and_finish_are_the_backbone(case: Case) -> None:
    activations = case.backbone.activations(case.inputs)
    assert_close(case.backbone.finish(activations), case.backbone.forward(case.inputs))


def test_cut_is_where_the_backbone_says(case: Case) -> None:
    blocks = case.backbone.tail_blocks
    assert case.backbone.cut == blocks[0]
    assert {f"{block}." for block in blocks} <= {
        name[: len(block) + 1]
        for block in blocks
        for name in case.reference.changed()
        if name.startswith(f"{block}.")
    }


def test_activation_has_the_shape_of_its_input_alone(case: Case) -> None:
    for prepared, activation in zip(
        case.inputs, case.backbone.activations(case.inputs), strict=True
    ):
        tokens = (len(prepared.data), 384)
        assert activation.shape == (tokens if prepared.data.ndim == 1 else (112, 14, 14))
        assert activation.dtype == np.float32


def test_half_precision_activations_are_taken_as_they_are(case: Case) -> None:
    activations = case.backbone.activations(case.inputs)
    halves = [activation.astype(np.float16) for activation in activations]
    exact = case.backbone.finish([half.astype(np.float32) for half in halves])
    np.testing.assert_array_equal(case.backbone.finish(halves), exact)


def test_nothing_in_is_nothing_out(case: Case) -> None:
    assert case.backbone.activations([]) == []
    assert case.backbone.finish([]).shape == (0, case.backbone.dim)
    tail = case.backbone.load_tail(case.file({}))
    assert tail.run([]).shape == (0, case.backbone.dim)


# A tail is the fine-tuned network, run by the library itself.


@pytest.mark.parametrize("which", ["every block after the cut", "the last block"])
def test_tail_equals_the_library_with_the_same_weights(case: Case, which: str) -> None:
    blocks = case.reference.blocks
    changed = case.reference.changed(*(blocks if which.startswith("every") else blocks[-1:]))
    tail = case.backbone.load_tail(case.file(changed))
    expected = case.reference.embed(changed)
    assert_close(tail.run(case.rows(whole=False)), expected)
    assert np.abs(expected - case.backbone.forward(case.inputs)).max() > 100 * TOLERANCE


def test_whole_tail_equals_the_library_with_the_same_weights(case: Case) -> None:
    changed = case.reference.changed("")
    tail = case.backbone.load_tail(case.file(changed, whole=True))
    assert tail.whole
    assert_close(tail.run(case.rows(whole=True)), case.reference.embed(changed))


@pytest.mark.parametrize("whole", [False, True])
def test_tail_without_changes_is_the_backbone(case: Case, whole: bool) -> None:
    tail = case.backbone.load_tail(case.file({}, whole))
    assert tail.whole == whole
    assert_close(tail.run(case.rows(whole)), case.backbone.forward(case.inputs))


def test_tail_does_not_change_the_backbone(case: Case) -> None:
    before = case.backbone.forward(case.inputs)
    activations = case.backbone.activations(case.inputs)
    case.backbone.load_tail(case.file(case.reference.changed())).run(activations)
    np.testing.assert_array_equal(case.backbone.forward(case.inputs), before)
    assert_close(case.backbone.finish(activations), before)


@pytest.mark.parametrize("whole", [False, True])
def test_embedding_of_a_tail_does_not_depend_on_its_batch(case: Case, whole: bool) -> None:
    tail = case.backbone.load_tail(case.file(case.reference.changed(), whole))
    rows = case.rows(whole)
    alone = np.concatenate([tail.run([row]) for row in rows])
    assert_close(tail.run(rows), alone)
    assert_close(tail.run(rows[::-1] * 3)[: len(rows)][::-1], alone)


def test_fingerprint_of_a_tail_is_that_of_its_file(case: Case) -> None:
    data = case.file(case.reference.changed())
    assert case.backbone.load_tail(data).fingerprint == tail_fingerprint(data)


def test_tails_of_many_threads_give_what_each_gives_alone(case: Case) -> None:
    rows = case.rows(whole=False)[:2]
    tails = [
        case.backbone.load_tail(case.file(case.reference.changed(seed=seed))) for seed in range(4)
    ]
    alone = [tail.run(rows) for tail in tails]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda index: tails[index % 4].run(rows), range(16)))
    for index, embeddings in enumerate(together):
        np.testing.assert_array_equal(embeddings, alone[index % 4])


# Their end.


def test_closed_tail_says_so_and_its_neighbours_go_on(case: Case) -> None:
    rows = case.rows(whole=False)
    one, other = (case.backbone.load_tail(case.file({})) for _ in range(2))
    one.close()
    one.close()
    with pytest.raises(BackboneError, match="closed"):
        one.run(rows)
    assert len(other.run(rows)) == len(rows)


def test_tails_are_closed_with_their_backbone(engine: str, image: Case, cache_dir: Path) -> None:
    backbone = load_backbone(
        "efficientnet/lite0", engine=engine, device="cpu", cache_dir=cache_dir, threads=1
    )
    rows = backbone.activations(image.inputs)
    tail = backbone.load_tail(image.file({}))
    backbone.close()
    for call in (
        lambda: tail.run(rows),
        lambda: backbone.finish(rows),
        lambda: backbone.activations(image.inputs),
        lambda: backbone.load_tail(image.file({})),
    ):
        with pytest.raises(BackboneError, match="closed"):
            call()


WATCH_THE_MEMORY = """
import pathlib, sys
import numpy as np, psutil
from models import load_backbone
from models.tails import write_tail
from models.engines.memory import give_back_memory

def load():
    return load_backbone("efficientnet/lite0", engine="onnxruntime", device="cpu",
                         cache_dir=pathlib.Path(sys.argv[1]), threads=1)
def taken():
    give_back_memory()
    return psutil.Process().memory_info().rss / 1e6
load().close()
empty = taken()
backbone = load()
prepared = [backbone.preprocess(np.zeros((224, 224, 3), np.uint8))]
before = taken()
backbone.forward(prepared)
rows = backbone.activations(prepared)
tensors = {name: np.zeros((1280, 320, 1, 1) if name == "conv_head.weight" else 1280, np.float32)
           for name in ("conv_head.weight", "bn2.weight", "bn2.bias")}
file = write_tail(backbone.fingerprint, tensors, whole=False)
backbone.load_tail(file).run(rows)
few = taken()
tails = [backbone.load_tail(file) for _ in range(12)]
for tail in tails:
    tail.run(rows)
print((taken() - few) / sum(tail.nbytes / 1e6 for tail in tails))
backbone.close()
print(taken() - empty)
"""


@pytest.mark.usefixtures("image_backbone")
def test_memory_of_tails_is_what_they_say_and_comes_back(cache_dir: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-c", WATCH_THE_MEMORY, str(cache_dir)],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.returncode == 0, process.stderr
    share, left = map(float, process.stdout.split())
    assert 0.7 < share < 1.5
    assert left < 30
