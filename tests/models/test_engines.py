"""Both engines on a small network: the parts of an export, and recorded passes."""

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.batch_shapes import TOKENS
from models.engines import Engine, Precision
from models.engines.onnxruntime import OnnxRuntimeEngine
from models.engines.torch import TorchEngine, TorchNetwork
from models.errors import BackboneError
from models.export import export_graph
from models.networks import Block, CutNetwork

pytestmark = pytest.mark.costly

WIDTH = 8


class Stem(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(50, WIDTH)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states: Tensor = self.words(input_ids)
        return states


class Layer(Block):
    """Each token sees the mean of all; one parameter is read by nothing."""

    def __init__(self, name: str) -> None:
        super().__init__({f"{name}.dense": nn.Linear(WIDTH, WIDTH), f"{name}.norm": Norm()})

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        assert mask is not None
        dense, norm = self.parts
        weights = mask.unsqueeze(-1).float()
        mean = (states * weights).sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)
        normed: Tensor = norm(states + torch.tanh(dense(states + mean)))
        return normed


class Norm(nn.LayerNorm):
    def __init__(self) -> None:
        super().__init__(WIDTH)
        self.unread = nn.Parameter(torch.zeros(3))


class Mean(nn.Module):
    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        assert mask is not None
        weights = mask.unsqueeze(-1).float()
        return (states.float() * weights).sum(dim=1) / weights.sum(dim=1)


def network(cut: int | None = 1) -> CutNetwork:
    torch.manual_seed(1)
    layers = [Layer(f"layer.{i}") for i in range(3)]
    return CutNetwork(Stem(), layers, Mean(), cut=cut, mask="attention_mask").eval()


def inputs(rows: int, tokens: int) -> dict[str, NDArray[Any]]:
    rng = np.random.default_rng(rows * 1000 + tokens)
    mask = (np.arange(tokens) < rng.integers(1, tokens + 1, (rows, 1))).astype(np.int64)
    return {"input_ids": rng.integers(0, 50, (rows, tokens)) * mask, "attention_mask": mask}


def export(cut: int | None, folder: Path) -> Path:
    path = folder / "graphs" / "whole.onnx"
    axes = (0, 1)
    dynamic = {"input_ids": axes, "attention_mask": axes}
    export_graph(network(cut), inputs(2, 8), dynamic, path)
    return path


@pytest.fixture(scope="module")
def graph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(1, tmp_path_factory.mktemp("cut"))


@pytest.fixture(scope="module")
def uncut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network without a cut, exported to where older exports left something."""
    folder = tmp_path_factory.mktemp("uncut")
    (folder / "graph-1.onnx").touch()
    (folder / "other.onnx").touch()
    (folder / "graphs").mkdir()
    (folder / "graphs" / "prefix.safetensors").write_bytes(b"of a day long past")
    return export(None, folder)


@pytest.fixture(scope="module")
def engines(graph: Path) -> tuple[Engine, Engine]:
    return (
        OnnxRuntimeEngine(graph, "cpu", 1),
        TorchEngine(network(), "cpu", Precision.FLOAT32, 1),
    )


def assert_close(one: NDArray[Any], other: NDArray[Any]) -> None:
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


# The parts of an export.


def test_engines_agree_on_every_part(engines: tuple[Engine, Engine]) -> None:
    one, other = engines
    assert one.tail_blocks == other.tail_blocks == ("layer.1.dense", "layer.2.dense")
    given = inputs(3, 11)
    states = {"states": one.prefix(given), "mask": given["attention_mask"]}
    assert_close(states["states"], other.prefix(given))
    assert_close(one.run(given), other.run(given))
    assert_close(one.finish(states), other.finish(states))
    assert_close(one.finish(states), one.run(given))


@pytest.mark.parametrize("whole", [False, True])
def test_engines_agree_on_what_can_be_tuned(engines: tuple[Engine, Engine], whole: bool) -> None:
    one, other = (engine.parameters(whole=whole) for engine in engines)
    assert one == other
    assert one["layer.2.dense.weight"] == (WIDTH, WIDTH)
    assert ("words.weight" in one) == whole


@pytest.mark.parametrize("whole", [False, True])
def test_every_parameter_can_be_replaced(engines: tuple[Engine, Engine], whole: bool) -> None:
    rng = np.random.default_rng(0)
    tensors = {
        name: rng.normal(size=shape).astype(np.float32)
        for name, shape in engines[0].parameters(whole=whole).items()
    }
    given = inputs(4, 9)
    states = {"states": engines[0].prefix(given), "mask": given["attention_mask"]}
    one, other = (
        engine.tail(tensors, whole=whole).run(given if whole else states) for engine in engines
    )
    assert_close(one, other)
    assert np.abs(one - engines[0].run(given)).max() > 0.1


def test_torch_tail_takes_memory_for_what_it_changes_only(engines: tuple[Engine, Engine]) -> None:
    bias = {"layer.2.dense.bias": np.zeros(WIDTH, np.float32)}
    assert engines[1].tail(bias, whole=False).nbytes == 4 * WIDTH
    assert engines[1].tail({}, whole=True).nbytes == 0


def test_network_without_a_cut_can_be_replaced_as_a_whole_only(uncut: Path) -> None:
    engine = OnnxRuntimeEngine(uncut, "cpu", 1)
    assert engine.tail_blocks == ()
    assert engine.parameters(whole=False) == {}
    given = inputs(2, 5)
    with pytest.raises(BackboneError, match=r"prefix\.onnx"):
        engine.prefix(given)
    words = {"words.weight": np.ones((50, WIDTH), np.float32)}
    reference = TorchEngine(network(None), "cpu", Precision.FLOAT32, 1)
    assert reference.parameters(whole=False) == {}
    assert reference.parameters(whole=True) == engine.parameters(whole=True)
    assert_close(
        engine.tail(words, whole=True).run(given), reference.tail(words, whole=True).run(given)
    )


def test_broken_weights_are_an_error_that_says_what_to_do(graph: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(graph.parent, tmp_path / "graphs")
    engine = OnnxRuntimeEngine(copy / graph.name, "cpu", 1)
    (copy / "tail.safetensors").write_bytes(b"broken")
    with pytest.raises(BackboneError, match="delete") as caught:
        engine.parameters(whole=False)
    assert str(copy) in str(caught.value)


def test_parts_that_nobody_uses_are_not_read(graph: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(graph.parent, tmp_path / "graphs")
    for name in ("prefix.onnx", "tail.onnx"):
        (copy / name).unlink()
    engine = OnnxRuntimeEngine(copy / graph.name, "cpu", 1)
    given = inputs(2, 6)
    assert engine.run(given).shape == (2, WIDTH)
    with pytest.raises(BackboneError, match=r"prefix\.onnx"):
        engine.prefix(given)


def test_export_replaces_the_remains_of_an_older_one(uncut: Path) -> None:
    assert OnnxRuntimeEngine(uncut, "cpu", 1).run(inputs(2, 5)).shape == (2, WIDTH)
    assert {path.name for path in uncut.parent.iterdir()} == {uncut.name, "prefix.safetensors"}


def test_export_removes_graphs_that_nobody_reads_any_more(uncut: Path) -> None:
    assert {path.name for path in uncut.parents[1].iterdir()} == {"graphs", "other.onnx"}


def test_export_leaves_a_graph_that_is_there_already(uncut: Path) -> None:
    before = uncut.stat()
    assert export(None, uncut.parents[1]) == uncut
    after = uncut.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert {path.name for path in uncut.parents[1].iterdir()} == {"graphs", "other.onnx"}


def test_graph_says_nothing_of_the_machine_it_was_made_on(graph: Path) -> None:
    for file in graph.parent.iterdir():
        assert b".py" not in file.read_bytes()


# Recorded passes; here a recording is the function itself, on inputs that stay where they are.


def record(
    function: Callable[..., Tensor], given: dict[str, Tensor]
) -> Callable[[Mapping[str, Tensor]], Tensor]:
    def replay(tensors: Mapping[str, Tensor]) -> Tensor:
        for name, tensor in tensors.items():
            given[name].copy_(tensor)
        return function(**given).clone()

    return replay


def compute(function: Callable[..., Tensor]) -> TorchNetwork:
    return TorchNetwork(function, torch.device("cpu"), Precision.FLOAT32)


@pytest.mark.parametrize(
    ("rows", "tokens"), [(1, 3), (3, 16), (5, 17), (64, 7), (131, 32), (2, 90)]
)
def test_recorded_passes_give_what_plain_ones_give(rows: int, tokens: int) -> None:
    plain, recorded = compute(network().forward), compute(network().forward)
    recorded.record(record, inputs(1, 24), (16, 32, 64))
    given = inputs(rows, tokens)
    assert_close(recorded.run(given), plain.run(given))


def test_recorded_prefix_gives_its_rows_and_at_least_their_tokens() -> None:
    prefix = compute(network().prefix)
    given = inputs(5, 20)
    expected = prefix.run(given)
    prefix.record(record, inputs(1, 24), (16, 32))
    states = prefix.run(given)
    assert states.shape == (5, 32, WIDTH)
    assert_close(states[:, :20], expected)


def test_passes_too_large_to_be_recorded_join_those_that_are() -> None:
    shapes: list[tuple[int, ...]] = []

    def record_shape(function: Callable[..., Tensor], given: dict[str, Tensor]) -> Any:
        shapes.append(tuple(next(iter(given.values())).shape[:2]))
        return record(function, given)

    prefix = compute(network().prefix)
    given = inputs(67, 290)
    expected = prefix.run(given)
    prefix.record(record_shape, inputs(1, 24), (16, 300))
    assert max(rows * length for rows, length in shapes) <= TOKENS
    states = prefix.run(given)
    assert states.shape == (67, 300, WIDTH)
    assert_close(states[:, :290], expected)


def test_what_cannot_be_recorded_runs_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    def refuse(function: Callable[..., Tensor], given: dict[str, Tensor]) -> Any:
        raise RuntimeError("operation not permitted when stream is capturing")

    plain, tried = compute(network().forward), compute(network().forward)
    tried.record(refuse, inputs(1, 24), (16, 32))
    assert "not permitted" in caplog.text
    given = inputs(3, 10)
    np.testing.assert_array_equal(tried.run(given), plain.run(given))


def test_recorded_passes_of_many_threads_do_not_mix() -> None:
    plain, recorded = compute(network().forward), compute(network().forward)
    recorded.record(record, inputs(1, 24), (16, 32))
    batches = [inputs(rows, 12) for rows in (1, 2, 3, 4)] * 8
    with ThreadPoolExecutor(4) as pool:
        for given, embeddings in zip(batches, pool.map(recorded.run, batches), strict=True):
            assert_close(embeddings, plain.run(given))


def test_closed_recordings_say_so() -> None:
    recorded = compute(network().forward)
    recorded.record(record, inputs(1, 24), (16,))
    recorded.close()
    with pytest.raises(BackboneError, match="closed"):
        recorded.run(inputs(1, 3))


def test_weights_in_bfloat16_give_what_autocast_gives() -> None:
    given = inputs(4, 10)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        tensors = {name: torch.from_numpy(array) for name, array in given.items()}
        expected = network()(**tensors).float().numpy()
    engine = TorchEngine(network(), "cpu", Precision.BFLOAT16, 1)
    np.testing.assert_array_equal(engine.run(given), expected)
