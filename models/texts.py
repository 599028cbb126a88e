"""Tokenization of texts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
from numpy.typing import NDArray
from tokenizers import Tokenizer, normalizers

from models.backbone import InputLimits, PreparedInput, RawInput
from models.batch_shapes import length_bucket, padded_length
from models.errors import BackboneError, InvalidInput


class TextPreprocessor:
    """Text -> int64 token ids, special tokens included, truncated to `max_tokens`.

    A text without a single token (empty, blanks, control characters) is invalid: its embedding
    would be that of the special tokens alone and say nothing.

    Args:
        tokenizer: a tokenizer.json, or what is read from files of another kind.
        padding: id that fills up a batch; the networks look at the mask alone, ONNX files may not.
        lowercase: whether texts are made lower-case first, whatever the tokenizer does.
    """

    def __init__(
        self,
        tokenizer: Path | Tokenizer,
        max_tokens: int,
        limits: InputLimits,
        *,
        padding: int = 0,
        lowercase: bool = False,
    ) -> None:
        self._limits = limits
        self._max_tokens = max_tokens
        self._padding = padding
        self._lowercase = lowercase
        self._tokenizer = _read(tokenizer) if isinstance(tokenizer, Path) else tokenizer
        if lowercase:
            own = self._tokenizer.normalizer
            self._tokenizer.normalizer = normalizers.Sequence(
                [normalizers.Lowercase(), *([own] if own else [])]
            )
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(max_tokens)
        self._specials = self._tokenizer.num_special_tokens_to_add(False)

    @property
    def parameters(self) -> dict[str, str | int | float]:
        """Cut and library version; the tokenizer's file is hashed beside the weights."""
        return {
            "revision": 1,
            "max_tokens": self._max_tokens,
            "tokenizers": tokenizers.__version__,
            **({"padding": self._padding} if self._padding else {}),
            **({"lowercase": 1} if self._lowercase else {}),
        }

    def prepare(self, raw: RawInput) -> PreparedInput:
        """Tokenize one text (str, or bytes in UTF-8). Raises InvalidInput."""
        # Only the batch calls release the interpreter lock.
        (encoding,) = self._tokenizer.encode_batch_fast([self._validated(raw)])
        ids = encoding.ids
        if len(ids) <= self._specials:
            raise InvalidInput(
                "holds nothing to embed", field="text.tokens", limit="at least 1", value=0
            )
        return PreparedInput(
            np.asarray(ids, np.int64),
            cost=length_bucket(len(ids), self._max_tokens),
            truncated=bool(encoding.overflowing),
        )

    def collate(self, batch: Sequence[PreparedInput]) -> dict[str, NDArray[Any]]:
        """Pad into `input_ids` and `attention_mask`, int64 of shape (n, tokens).

        The longest text decides, rounded up.
        """
        width = padded_length([len(item.data) for item in batch], self._max_tokens)
        ids = np.full((len(batch), width), self._padding, np.int64)
        mask = np.zeros_like(ids)
        for row, item in enumerate(batch):
            ids[row, : len(item.data)] = item.data
            mask[row, : len(item.data)] = 1
        return {"input_ids": ids, "attention_mask": mask}

    def sample(self) -> RawInput:
        """Return a sentence of common length."""
        return "A trunk line carries what many branches share, so that each of them stays short."

    def _validated(self, raw: RawInput) -> str:
        if not isinstance(raw, str | bytes):
            raise InvalidInput(
                "a text backbone cannot read this kind of input",
                field="input",
                limit="text",
                value=type(raw).__name__,
            )
        limit = self._limits.max_text_bytes
        try:
            # A str may hold lone surrogates, which no UTF-8 text can.
            data = raw.encode() if isinstance(raw, str) else raw
            if len(data) > limit:
                raise InvalidInput("too long", field="text.bytes", limit=limit, value=len(data))
            return raw if isinstance(raw, str) else raw.decode()
        except (UnicodeEncodeError, UnicodeDecodeError) as error:
            raise InvalidInput(
                "is not valid Unicode", field="text.encoding", limit="UTF-8", value=error.reason
            ) from error


def _read(path: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exception
        raise BackboneError(f"cannot read the tokenizer {path.name}: {error}") from error
