"""Words to look for in texts."""

from __future__ import annotations

import re
from collections.abc import Sequence

from service.errors import InvalidRequest
from trunkline.labels import normalised

MAX_BYTES = 256

_WORD = re.compile(r'"([^"]*)"|(\S+)')


def read_words(field: str, asked: str) -> list[str]:
    """Returns the words that are asked for, as `has_words` takes them; none for an empty text.

    What stands between double quotes is one word, with a space for all white space in it.

    Raises:
        InvalidRequest: it is too long, or nothing but white space and quotes.
    """
    size = len(asked.encode())
    if size > MAX_BYTES:
        raise InvalidRequest.at(
            field, "at most {limit} bytes of UTF-8, has {value}", MAX_BYTES, size
        )
    found = (_folded(quoted or bare) for quoted, bare in _WORD.findall(asked))
    words = list(dict.fromkeys(word for word in found if word))
    if asked and not words:
        raise InvalidRequest.at(field, "must have a word to look for, is {value!r}", value=asked)
    return words


def has_words(text: str, words: Sequence[str]) -> bool:
    """Returns whether a text has all the words, in any order and any case, or within others."""
    folded = _folded(text)
    return all(word in folded for word in words)


def _folded(text: str) -> str:
    """Returns the text as texts are compared: composed (NFC), without case (Unicode, 3.13)."""
    return " ".join(normalised(text).casefold().split())
