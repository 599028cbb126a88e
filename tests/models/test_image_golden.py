"""Pictures that are read keep every pixel, release by release, and with them every fingerprint."""

import hashlib
import json
from pathlib import Path

import pytest

from models import InputLimits
from models.image_resize import CentreCrop
from models.images import ImagePreprocessor
from tests.models.image_samples import sound

DECODERS = ("pillow", "jpg", "libjpeg_turbo", "webp", "libtiff")
golden = json.loads(Path(__file__).with_name("golden_pixels.json").read_text())
using = (
    ImagePreprocessor(224, InputLimits()),
    ImagePreprocessor(24, InputLimits()),  # JPEG is decoded at a fraction
    ImagePreprocessor(CentreCrop(40, (32, 36)), InputLimits()),
)


def decoders() -> dict[str, object]:
    return {name: using[0].parameters[name] for name in DECODERS}


def test_parameters_that_go_into_the_fingerprint_stay() -> None:
    ours = {name: value for name, value in using[0].parameters.items() if name not in DECODERS}
    assert ours == {
        "revision": 1,
        "size": 224,
        "filter": "bicubic",
        "reducing_gap": 2.0,
        "background": "white",
    }
    assert list(using[0].parameters) == [*ours, *DECODERS]


# Other decoders make other pixels, and another fingerprint.
@pytest.mark.skipif(decoders() != golden["decoders"], reason="made with other decoders")
@pytest.mark.parametrize(("name", "raw"), [pytest.param(*made, id=made[0]) for made in sound()])
def test_picture_keeps_every_pixel(name: str, raw: bytes) -> None:
    digests = [
        hashlib.blake2b(one.prepare(raw).data.tobytes(), digest_size=8).hexdigest() for one in using
    ]
    assert " ".join(digests) == golden["digests"][name]


def test_no_picture_is_left_out() -> None:
    assert {name for name, _ in sound()} == set(golden["digests"])
