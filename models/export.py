"""Export of a network to ONNX files, once, safely beside other processes."""

from __future__ import annotations

import json
import os
import shutil
import uuid
import warnings
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from numpy.typing import NDArray
from onnxscript import ir
from torch import Tensor, nn

from models import graph_paths
from models.networks.base import CutNetwork, Tail

OPSET = 20


def export_graph(
    network: CutNetwork,
    inputs: Mapping[str, NDArray[Any]],
    dynamic: Mapping[str, Sequence[int]],
    path: Path,
) -> None:
    """Write `network`, whole and in its parts, to the folder of `path`; see `models.graph_paths`.

    The folder appears whole or not at all. Two processes may do so at once: the first one wins,
    and the other one would have made the same.

    Args:
        network: in eval mode on the CPU.
        inputs: example arguments by name; every dynamic axis at least 2 long, because the
            exporter takes a length of 1 for a constant.
        dynamic: per argument, the axes whose length varies.
        path: of the whole graph; its folders are made as well.
    """
    example = {name: torch.from_numpy(array) for name, array in inputs.items()}
    with _new_folder(path) as folder:
        if network.cut is None:
            whole = _export(network, network.forward, example, dynamic, "pooled_output")
            whole.keep_weights(folder / graph_paths.PREFIX_WEIGHTS)
        else:
            tail = _export_tail(network, example)
            tail.keep_weights(folder / graph_paths.TAIL_WEIGHTS)
            after = tail.parameters
            prefix = _export(network, network.prefix, example, dynamic, "states", without=after)
            prefix.keep_weights(folder / graph_paths.PREFIX_WEIGHTS)
            prefix.write(folder / graph_paths.PREFIX)
            tail.write(folder / graph_paths.TAIL)
            whole = prefix.followed_by(tail, {"states": "states", "mask": network.mask})
        whole.model.metadata_props[graph_paths.TAIL_BLOCKS] = json.dumps(network.tail_blocks)
        whole.write(folder / path.name)
    for old in path.parent.parent.glob(graph_paths.OLD):
        old.unlink(missing_ok=True)


@dataclass(frozen=True)
class _Graph:
    """A graph whose parameters have the names of the library's network.

    Attributes:
        model: in ONNX's intermediate representation, where the parameters are inputs at first.
        parameters: by name.
        unread: names of those among them that the result does not depend on.
    """

    model: ir.Model
    parameters: Mapping[str, Tensor]
    unread: Sequence[str]

    def keep_weights(self, path: Path) -> None:
        """Write the parameters to a safetensors file and let the graph point into it."""
        tensors = {name: tensor.contiguous() for name, tensor in self.parameters.items()}
        data = safetensors.torch.save(tensors, {graph_paths.UNREAD: json.dumps(self.unread)})
        _write(data, path)
        size = int.from_bytes(data[:8], "little")
        header = json.loads(data[8 : 8 + size])
        graph = self.model.graph
        for value in [it for it in graph.inputs if it.name in tensors]:
            name = str(value.name)
            start, end = header[name]["data_offsets"]
            value.const_value = ir.ExternalTensor(
                path.name,
                8 + size + start,
                end - start,
                ir.DataType.FLOAT,
                shape=ir.Shape(tensors[name].shape),
                name=name,
                base_dir=path.parent,
            )
            graph.inputs.remove(value)
            graph.register_initializer(value)

    def followed_by(self, other: _Graph, given: Mapping[str, str | None]) -> _Graph:
        """Join the two, by the names of the other's inputs and of what is given for them."""
        first, second = self.model.graph, other.model.graph
        for value in second.inputs:
            name = given[str(value.name)]
            (source,) = (it for it in (*first.inputs, *first.outputs) if it.name == name)
            ir.convenience.replace_all_uses_with(value, source)
        # Names of values and nodes may be taken; those of the parameters and the output are kept.
        outputs = list(second.outputs)
        for node in second.all_nodes():
            node.name = f"tail/{node.name}"
            for value in (it for it in node.outputs if it not in outputs):
                value.name = f"tail/{value.name}"
        for value in list(second.initializers.values()):
            del second.initializers[str(value.name)]
            if value.name not in other.parameters:
                value.name = f"tail/{value.name}"
            first.register_initializer(value)
        nodes = list(second)
        second.outputs.clear()
        second.remove(nodes)
        first.extend(nodes)
        first.outputs[:] = outputs
        return self

    def write(self, path: Path) -> None:
        """Write the graph, without its parameters."""
        _write(ir.to_proto(self.model).SerializeToString(), path)


class _Call(nn.Module):
    """A function with arguments by name, as the exporter wants it: a module, by position."""

    def __init__(self, owner: nn.Module, function: Callable[..., Tensor], names: list[str]) -> None:
        super().__init__()
        self.owner, self.function, self.names = owner, function, names

    def forward(self, *arguments: Tensor) -> Tensor:
        return self.function(**dict(zip(self.names, arguments, strict=True)))


def _export_tail(network: CutNetwork, inputs: Mapping[str, Tensor]) -> _Graph:
    tail = network.shared_tail()
    with torch.inference_mode():
        example = {"states": network.prefix(**inputs)}
    mask = network.mask_of(inputs)
    if mask is None:
        return _export(tail, tail.forward, example, {"states": (0,)}, "pooled_output")
    dynamic = {"states": (0, 1), "mask": (0, 1)}
    return _export(tail, tail.forward, example | {"mask": mask}, dynamic, "pooled_output")


def _export(
    owner: CutNetwork | Tail,
    function: Callable[..., Tensor],
    example: Mapping[str, Tensor],
    dynamic: Mapping[str, Sequence[int]],
    output: str,
    without: Container[str] = (),
) -> _Graph:
    call = _Call(owner, function, list(example)).eval()
    shapes = tuple(dict.fromkeys(dynamic[name], torch.export.Dim.DYNAMIC) for name in example)
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            call,
            tuple(example.values()),
            input_names=list(example),
            output_names=[output],
            dynamic_shapes=(shapes,),
            opset_version=OPSET,
            dynamo=True,
            optimize=False,
            verbose=False,
        )
    assert program is not None
    graph = program.model.graph
    # While they are inputs, the optimizer cannot fold the parameters into other numbers, and a
    # tenant's own can take their place later.
    names = {id(tensor): name for name, tensor in owner.named_tensors() if name not in without}
    parameters: dict[str, Tensor] = {}
    for path, parameter in call.named_parameters():
        name = names.get(id(parameter))
        if name is not None:
            parameters[name] = parameter.data
            value = graph.initializers.pop(path, None)
            if value is not None:
                value.name, value.const_value = name, None
                graph.inputs.append(value)
    program.optimize()
    unread = parameters.keys() - {value.name for value in graph.inputs if value.uses()}
    ir.passes.common.ClearMetadataAndDocStringPass()(program.model)  # stack traces
    return _Graph(program.model, parameters, sorted(unread))


@contextmanager
def _new_folder(path: Path) -> Iterator[Path]:
    """Make a folder to fill, which becomes that of `path` at the end unless `path` exists then."""
    folder = path.parent
    temporary = folder.with_name(f"{folder.name}.{uuid.uuid4().hex}.part")
    temporary.mkdir(parents=True)
    try:
        yield temporary
        _sync(temporary)
        try:
            temporary.rename(folder)
        except OSError:
            if not path.exists():  # nobody was first: these are the remains of an older one
                shutil.rmtree(folder)
                temporary.rename(folder)
        _sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _write(data: bytes, path: Path) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync(folder: Path) -> None:
    """Make the names in a folder survive a crash, too."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
