"""The protocol's messages over gRPC, of a descriptor pool of their own.

A process that has them may hold another's stubs of the same names beside them: Python's own pool
would refuse the second.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

SERVICE = "inference.GRPCInferenceService"


def _pool() -> Any:
    pool = DescriptorPool()
    data = (Path(__file__).parent / "inference.binpb").read_bytes()
    for file in FileDescriptorSet.FromString(data).file:
        pool.Add(file)
    return pool


_POOL = _pool()
FILE: Any = _POOL.FindFileContainingSymbol(SERVICE)
"""The file that describes the service."""


def message_class(name: str) -> Any:
    """Returns the class of a message, e.g. "ModelInferRequest"."""
    return GetMessageClass(_POOL.FindMessageTypeByName(f"inference.{name}"))
