"""The two embedded backbones, exported once for all tests of this folder."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from models import Backbone, load_backbone

TEXTS = (
    "A good film.",
    "x",
    "The weaving loom stopped twice before noon, and the cloth shows it: " * 30,
    "naïve café 漢字 😀 [MASK]",
    "Terrible service, would not come again!",
)


@pytest.fixture(scope="session")
def image_backbone(cache_dir: Path) -> Backbone:
    return load_backbone(
        "efficientnet/lite0", engine="onnxruntime", device="cpu", cache_dir=cache_dir
    )


@pytest.fixture(scope="session")
def text_backbone(cache_dir: Path) -> Backbone:
    return load_backbone("minilm/l6-v2", engine="onnxruntime", device="cpu", cache_dir=cache_dir)


@pytest.fixture(scope="session")
def photos() -> list[NDArray[np.uint8]]:
    """A temple by a lake and a flower, as scikit-learn ships them."""
    from sklearn.datasets import load_sample_image

    return [np.array(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]
