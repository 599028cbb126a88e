"""Inputs as they come off the wire: checked, hashed, and given the type preprocessing takes."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import cast

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray

import models
from models import InputLimits, Modality
from service.errors import FingerprintMismatch, InvalidRequest, StoredDataDamaged
from service.requests.tensors import from_tensor, to_tensor
from trunkline import digest as digests
from trunkline.v1 import common_pb2

INLINE_BYTES = 1024 * 1024
"""Hashing up to this size takes a fraction of a millisecond and stays on the event loop."""

_DIGEST = re.compile("[0-9a-fA-F]{64}")
_PREFIX = re.compile("[0-9a-fA-F]{8,64}")


class Kind(StrEnum):
    """What an input is."""

    IMAGE = "image"
    TEXT = "text"
    PIXELS = "pixels"
    EMBEDDING = "embedding"
    DIGEST = "digest"

    @property
    def modality(self) -> Modality | None:
        """The modality a backbone needs to take it; None if any does."""
        return _MODALITIES.get(self)


_MODALITIES = {
    Kind.IMAGE: Modality.IMAGE,
    Kind.PIXELS: Modality.IMAGE,
    Kind.TEXT: Modality.TEXT,
}


@dataclass(frozen=True)
class RawInput:
    """One checked input.

    Attributes:
        content: encoded image, text, uint8 pixels (height, width, 3), float32 vector (dim,), or
            None for a digest.
        fingerprint: of the backbone that made the vector; empty for other kinds.
    """

    kind: Kind
    digest: str
    content: bytes | str | NDArray[np.uint8] | NDArray[np.float32] | None
    fingerprint: str = ""

    @property
    def cost(self) -> int:
        """Size of the content in bytes, at least 1."""
        if isinstance(self.content, np.ndarray):
            return max(1, self.content.nbytes)
        return max(1, len(self.content or b""))

    @cached_property
    def decoding_ns(self) -> int:
        """Nanoseconds that decoding it takes, of an image, pixels or a text.

        Several ask for it, and reading the header of an image takes 15 us.
        """
        return models.decode_cost(cast("models.RawInput", self.content))

    def to_message(self) -> common_pb2.Input:
        """Converts the input to what another server takes, and what is stored (serialised)."""
        if self.kind is Kind.IMAGE:
            assert isinstance(self.content, bytes)
            return common_pb2.Input(image=self.content)
        if self.kind is Kind.TEXT:
            assert isinstance(self.content, str)
            return common_pb2.Input(text=self.content)
        assert isinstance(self.content, np.ndarray)
        return common_pb2.Input(pixels=to_tensor(self.content))


async def read_inputs(
    messages: Sequence[common_pb2.Input], limits: InputLimits
) -> list[RawInput | Exception]:
    """Returns the checked inputs, or each one's error; many bytes are hashed in a thread."""
    if sum(message.ByteSize() for message in messages) <= INLINE_BYTES:
        return [_read_or_error(message, limits) for message in messages]
    return await asyncio.to_thread(
        lambda: [_read_or_error(message, limits) for message in messages]
    )


async def read_kept(
    kept: Mapping[str, bytes], limits: InputLimits
) -> dict[str, RawInput | Exception]:
    """Reads serialised inputs as they are stored, by the digests that they had then.

    One that is not what was stored, or that is refused now, is an error.
    """
    if sum(map(len, kept.values())) <= INLINE_BYTES:
        return _read_kept(kept, limits)
    return await asyncio.to_thread(_read_kept, kept, limits)


def _read_kept(kept: Mapping[str, bytes], limits: InputLimits) -> dict[str, RawInput | Exception]:
    found: dict[str, RawInput | Exception] = {}
    for digest, data in kept.items():
        try:
            raw = _read_or_error(common_pb2.Input.FromString(data), limits)
            sound = isinstance(raw, Exception) or raw.digest == digest
        except (DecodeError, TypeError):
            sound = False
        found[digest] = raw if sound else _damaged(digest)
    return found


def _damaged(digest: str) -> StoredDataDamaged:
    return StoredDataDamaged(
        f"digest: the kept input {digest} is damaged; forget the example, and upload it again",
        field="digest",
        value=digest,
    )


def _read_or_error(message: common_pb2.Input, limits: InputLimits) -> RawInput | Exception:
    try:
        return read_input(message, limits)
    except InvalidRequest as error:
        return error


def read_input(message: common_pb2.Input, limits: InputLimits) -> RawInput:
    """Checks an input's form and size; what is inside an image shows when it is decoded.

    Raises:
        InvalidRequest: naming field, limit and value.
    """
    kind = message.WhichOneof("kind")
    if kind == "image":
        image = message.image
        _check_size("image", len(image), limits.max_image_bytes)
        return RawInput(Kind.IMAGE, digests.image_digest(image), image)
    if kind == "text":
        return _read_text(message.text, limits)
    if kind == "text_utf8":
        data = message.text_utf8
        _check_size("text", len(data), limits.max_text_bytes)
        try:
            return _read_text(data.decode("utf-8"), limits)
        except UnicodeDecodeError as error:
            raise InvalidRequest(
                f"text: must be valid UTF-8, byte {error.start} is not",
                field="text",
                limit="valid UTF-8",
                value=f"byte {error.start}",
            ) from error
    if kind == "pixels":
        return _read_pixels(message.pixels, limits)
    if kind == "embedding":
        return _read_embedding(message.embedding)
    if kind == "digest":
        return RawInput(Kind.DIGEST, check_digest(message.digest), None)
    raise InvalidRequest(
        "input: needs one of image, text, text_utf8, pixels, embedding, digest; has none",
        field="input",
        limit="one kind",
        value="none",
    )


def request_key(inputs: Sequence[RawInput]) -> str:
    """Returns by what a request for these inputs is known when it comes back."""
    return hashlib.sha256("".join(raw.digest for raw in inputs).encode()).hexdigest()


def check_digest(digest: str) -> str:
    """Returns the digest in lower case if it is well-formed, in either case.

    Raises:
        InvalidRequest: it is malformed.
    """
    if not _DIGEST.fullmatch(digest):
        raise InvalidRequest.at(
            "digest", "must be 64 hexadecimal digits, is {value!r}", "64 hexadecimal digits", digest
        )
    return digest.lower()


def check_prefix(digest: str) -> str:
    """Returns a digest, or the first 8 digits of one at least, in lower case.

    Raises:
        InvalidRequest: it is malformed.
    """
    if not _PREFIX.fullmatch(digest):
        raise InvalidRequest.at(
            "digests", "must be {limit}, is {value!r}", "from 8 to 64 hexadecimal digits", digest
        )
    return digest.lower()


def check_embedding(raw: RawInput, fingerprint: str, dim: int) -> NDArray[np.float32]:
    """Returns the vector of an embedding input if the wanted backbone made it.

    Raises:
        FingerprintMismatch: another backbone made it.
        InvalidRequest: wrong length.
    """
    assert isinstance(raw.content, np.ndarray)
    if raw.fingerprint != fingerprint:
        raise FingerprintMismatch(
            f"embedding.fingerprint: must be {fingerprint}, is {raw.fingerprint[:64]}: "
            "another backbone, or other weights or preprocessing, made it",
            field="embedding.fingerprint",
            limit=fingerprint,
            value=raw.fingerprint,
        )
    if raw.content.shape != (dim,):
        raise InvalidRequest.at(
            "embedding.vector",
            "must have shape {limit}, has {value}",
            [dim],
            list(raw.content.shape),
        )
    return raw.content.astype(np.float32, copy=False)


def _read_text(text: str, limits: InputLimits) -> RawInput:
    _check_size("text", len(text.encode()), limits.max_text_bytes)
    return RawInput(Kind.TEXT, digests.text_digest(text), text)


def _read_pixels(tensor: common_pb2.Tensor, limits: InputLimits) -> RawInput:
    pixels = from_tensor(tensor, field="pixels", dtypes=("uint8",)).astype(np.uint8, copy=False)
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
        raise InvalidRequest.at(
            "pixels.shape", "must be {limit}, is {value}", "[height, width, 3]", list(pixels.shape)
        )
    height, width, _ = pixels.shape
    if height * width > limits.max_pixels:
        raise InvalidRequest.at(
            "pixels", "at most {limit}, is {value}", limits.max_pixels, height * width
        )
    if max(height, width) > limits.max_side:
        raise InvalidRequest(
            f"pixels.side: at most {limits.max_side}, shape is {list(pixels.shape)}",
            field="pixels.side",
            limit=limits.max_side,
            value=max(height, width),
        )
    return RawInput(Kind.PIXELS, digests.pixels_digest(pixels.shape, tensor.data), pixels)


def _read_embedding(message: common_pb2.Embedding) -> RawInput:
    vector = from_tensor(message.vector, field="embedding.vector", dtypes=("float32",))
    if vector.ndim != 1 or vector.size == 0:
        raise InvalidRequest.at(
            "embedding.vector", "must have shape [dim], has {value}", "[dim]", list(vector.shape)
        )
    if not np.isfinite(vector).all():
        index = int(np.flatnonzero(~np.isfinite(vector))[0])
        raise InvalidRequest(
            f"embedding.vector: must be finite, element {index} is {vector[index]}",
            field="embedding.vector",
            limit="finite",
            value=vector[index],
        )
    return RawInput(
        Kind.EMBEDDING,
        digests.embedding_digest(message.fingerprint, message.vector.data),
        vector.astype(np.float32, copy=False),
        message.fingerprint,
    )


def _check_size(field: str, size: int, limit: int) -> None:
    if size == 0:
        raise InvalidRequest.at(field, "must not be empty", "at least 1 byte", 0)
    if size > limit:
        raise InvalidRequest.at(field, "at most {limit} bytes, has {value}", limit, size)
