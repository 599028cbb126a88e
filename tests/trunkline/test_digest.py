import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from trunkline.digest import (
    embedding_digest,
    image_digest,
    is_digest,
    pixels_digest,
    text_digest,
)
from trunkline.values.inputs import Digest

GOLDEN = {
    "image": "0781f021ad34ca0bd548a014cf0d824946995b0c9fed98a387d6c293284e445c",
    "text": "124f4941b91b942334cd2cdb41fc14441d37f79c2fc0d9abc550b73e2884920e",
    "pixels": "28dc0c066bbd6d7f40b8a796869d5ef98afaa849ec1e9acf38cdb105e4cd7409",
    "embedding": "e1e45b8361dcb366dffebb391a648c5b8508a41138b7fadd2cd42f3856c4769e",
}


def test_digests_stay_what_they_are() -> None:
    assert image_digest(b"abc") == GOLDEN["image"]
    assert text_digest("grün") == GOLDEN["text"]
    assert pixels_digest((1, 2, 3), b"abcdef") == GOLDEN["pixels"]
    assert embedding_digest("ab", b"\x00\x00\x80?") == GOLDEN["embedding"]


@given(st.binary(max_size=200))
def test_equal_bytes_of_different_kinds_have_different_digests(data: bytes) -> None:
    assert len({image_digest(data), text_digest(data), embedding_digest("", data)}) == 3


@given(st.text(max_size=100))
def test_a_text_and_its_utf8_have_the_same_digest(text: str) -> None:
    try:
        encoded = text.encode()
    except UnicodeEncodeError:
        with pytest.raises(UnicodeEncodeError):
            text_digest(text)
    else:
        assert text_digest(text) == text_digest(encoded)
        assert is_digest(text_digest(text))


def test_the_shape_of_pixels_is_part_of_their_digest() -> None:
    assert pixels_digest((1, 2, 3), bytes(6)) != pixels_digest((2, 1, 3), bytes(6))


def test_a_digest_is_derived_under_its_context() -> None:
    expected = blake3(b"2x1x3\n" + b"abcdef", derive_key_context="trunkline v1 pixels").hexdigest()
    assert pixels_digest((2, 1, 3), memoryview(b"abcdef")) == expected


@pytest.mark.parametrize("shape", [(2, 2, 3), (6,), (1, 2, 4), (1, 6)])
def test_a_shape_that_does_not_fit_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="shape"):
        pixels_digest(shape, b"abcdef")


@pytest.mark.parametrize("text", ["", "0" * 63, "0" * 65, "0" * 64 + "\n", "G" * 64])
def test_what_is_no_digest_is_recognised(text: str) -> None:
    assert not is_digest(text)


def test_a_digest_may_be_written_in_either_case() -> None:
    assert is_digest("A" * 64)
    assert Digest("AB" * 32) == Digest("ab" * 32)
