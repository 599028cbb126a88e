"""Keys of the views of an image in the store."""

from __future__ import annotations

from blake3 import blake3

from models.views import RECIPE

PREFIX = 32
"""Digits of an image's digest that those of its views begin with."""

FIRST_FLIP = 1000
"""Index of an image's first flip; those of its other views are below."""

_CONTEXT = "trunkline v1 view"


def view_digest(digest: str, index: int, recipe: int = RECIPE) -> str:
    """Returns the key under which the embedding of an image's view is stored.

    It begins like the image's own digest, so that all views of an image, also of older recipes, can
    be found and deleted; 128 bits of either half still tell any two apart.
    """
    hasher = blake3(f"{digest}\n{index}\n{recipe}\n".encode(), derive_key_context=_CONTEXT)
    return digest[:PREFIX] + hasher.hexdigest()[PREFIX:]


def view_digests(digest: str, count: int, *, flips: bool = False) -> list[str]:
    """Returns the keys of the first views of an image, or of its first flips."""
    first = FIRST_FLIP if flips else 0
    return [view_digest(digest, first + index) for index in range(count)]
