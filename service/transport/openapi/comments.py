"""What the proto files say beside their definitions, which the generated stubs leave out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import Any

from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet

import trunkline.v1


def read_comments() -> Mapping[str, str]:
    """Returns the comments by the full name of what they stand above.

    ``trunkline.v1.Head.name``, ``trunkline.v1.HeadService.GetHead`` and the like; in one line each.
    """
    packed = files(trunkline.v1).joinpath("descriptors.binpb").read_bytes()
    comments: dict[str, str] = {}
    for file in FileDescriptorSet.FromString(packed).file:
        for location in file.source_code_info.location:
            name = _full_name(file, location.path)
            if name and location.leading_comments:
                comments[name] = " ".join(location.leading_comments.split())
    return comments


def _full_name(file: FileDescriptorProto, path: Sequence[int]) -> str | None:
    """Returns the full name of what a path leads to: pairs of a repeated field and an index."""
    names = [file.package]
    node: Any = file
    if not path or len(path) % 2:
        return None
    for number, index in zip(path[::2], path[1::2], strict=True):
        field = node.DESCRIPTOR.fields_by_number[number]
        if not field.is_repeated or field.message_type is None:
            return None  # an option, not a definition
        node = getattr(node, field.name)[index]
        names.append(node.name)
    return ".".join(names)
