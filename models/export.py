"""Export of a torch module to an ONNX file, once, safely beside other processes."""

from __future__ import annotations

import os
import uuid
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn

OPSET = 20


def export_graph(
    network: nn.Module,
    inputs: Mapping[str, NDArray[Any]],
    dynamic: Mapping[str, Sequence[int]],
    path: Path,
) -> None:
    """Write `network` to `path`, which appears whole or not at all.

    Two processes may do so at once: each writes a file of its own, the last rename wins, and both
    files hold the same graph.

    Args:
        network: module in eval mode on the CPU.
        inputs: example arguments by name; every dynamic axis at least 2 long, because the
            exporter takes a length of 1 for a constant.
        dynamic: per argument, the axes whose length varies.
        path: the file to make; its folders are made as well.
    """
    shapes = {name: dict.fromkeys(axes, torch.export.Dim.DYNAMIC) for name, axes in dynamic.items()}
    with torch.inference_mode(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter warns of its own internals
        program = torch.onnx.export(
            network,
            kwargs={name: torch.from_numpy(array) for name, array in inputs.items()},
            input_names=list(inputs),
            output_names=["pooled_output"],
            dynamic_shapes=shapes,
            opset_version=OPSET,
            dynamo=True,
            verbose=False,
        )
    assert program is not None
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_atomically(program.model_proto.SerializeToString(), path)


def _write_atomically(data: bytes, path: Path) -> None:
    temporary = path.with_name(f"{path.name}.{uuid.uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)  # the new name, too, has to survive a crash
    finally:
        os.close(folder)
