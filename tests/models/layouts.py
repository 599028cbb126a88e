"""Pictures by their bits, and what they must look like."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import InputLimits, InvalidInput
from models.images import ImagePreprocessor
from tests.models.image_samples import grey, rgb, rgba

SIDE = 48
SIZE = (SIDE, SIDE)
GREY, RGB, RGBA = grey(SIDE, SIDE), rgb(SIDE, SIDE), rgba(SIDE, SIDE)
preprocessor = ImagePreprocessor(SIDE, InputLimits())

Wide = NDArray[Any]


def read(raw: bytes) -> NDArray[np.uint8] | None:
    """The pixels; None where they are refused as a kind that is not read."""
    try:
        return preprocessor.prepare(raw).data
    except InvalidInput as error:
        refusal = error
    assert refusal.field == "image.mode", str(refusal)
    assert "pixels of this kind" in str(refusal)
    return None


def assert_right_or_refused(raw: bytes, right: Wide, tolerance: float = 1.5) -> bool:
    """Returns whether it was read."""
    found = read(raw)
    if found is None:
        return False
    shown = np.broadcast_to(right if right.ndim == 3 else right[..., None], (SIDE, SIDE, 3))
    assert np.abs(found.astype(float) - shown).max() <= tolerance
    return True


def in_bits(levels: NDArray[np.uint8], bits: int) -> Wide:
    """8-bit levels as levels of that many bits."""
    return (levels.astype(np.uint64) * ((1 << bits) - 1) + 127) // 255


def shown(levels: Wide, bits: int) -> NDArray[np.float64]:
    """Levels of that many bits as 8-bit levels."""
    return np.asarray(np.round(levels.astype(float) * 255 / ((1 << bits) - 1)))
