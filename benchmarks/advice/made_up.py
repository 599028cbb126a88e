"""Sets where transfer does not help: what tells the class is what a backbone passes over."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from service.demo.data import Labelled

COUNT = 2000
SIDE = 16

LIT, DARK, NOISE = 168, 88, 30
"""Brightness of the pixel that tells, in either class, and the noise of all pixels."""

WORDS = 400
LENGTH = 24
FIRST, SECOND = "blicket", "toma"
"""Words of no language; in which order they stand is the class."""


def pixel() -> list[tuple[bytes, str]]:
    """PNG pictures of gray noise; one pixel of each is brighter or darker than its class's other.

    A linear model of the pixels sees that at once; a network that looks for shapes and textures at
    a coarser scale does not.
    """
    rng = np.random.default_rng(0)
    row, column = 5, 9
    items = []
    for number in range(COUNT):
        lit = number % 2 == 0
        picture = np.full((SIDE, SIDE), (LIT + DARK) / 2)
        picture[row, column] = LIT if lit else DARK
        picture += rng.normal(0, NOISE, picture.shape)
        file = io.BytesIO()
        Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(file, "PNG")
        items.append((file.getvalue(), "lit" if lit else "dark"))
    return items


def words() -> list[Labelled]:
    """Texts of made-up words at random; two of them stand side by side in one order or the other.

    Counting pairs of words finds that. The mean over a text's word pieces hardly changes with it.
    """
    rng = np.random.default_rng(0)
    syllables = [a + b for a in "bdfgklmnprstvz" for b in "aeiou"]
    vocabulary = ["".join(rng.choice(syllables, 3)) for _ in range(WORDS)]
    items: list[Labelled] = []
    for number in range(COUNT):
        pair, label = (
            (f"{FIRST} {SECOND}", "first") if number % 2 else (f"{SECOND} {FIRST}", "second")
        )
        text = rng.choice(vocabulary, LENGTH).tolist()
        text.insert(int(rng.integers(LENGTH + 1)), pair)
        items.append((" ".join(text), f"{FIRST} {label}"))
    return items
