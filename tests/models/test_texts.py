"""What becomes of texts on their way to the backbone."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import BackboneError, InputLimits, InvalidInput
from models.catalogue import MINILM_L6_V2
from models.texts import TextPreprocessor

TOKENIZER = MINILM_L6_V2.files()["tokenizer"]
CLS, SEP = 101, 102
preprocessor = TextPreprocessor(TOKENIZER, 256, InputLimits())


def refused(raw: object, using: TextPreprocessor = preprocessor) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        using.prepare(raw)  # type: ignore[arg-type]
    error = caught.value
    assert error.limit is not None
    assert error.value is not None
    return error


def test_tokens_are_those_of_the_published_vocabulary() -> None:
    prepared = preprocessor.prepare("Hello, world!")
    assert prepared.data.tolist() == [CLS, 7592, 1010, 2088, 999, SEP]
    assert prepared.data.dtype == np.int64
    assert prepared.cost == 16  # as many are computed


def test_utf8_bytes_and_str_give_the_same_tokens() -> None:
    text = "naïve café 漢字 😀"
    np.testing.assert_array_equal(
        preprocessor.prepare(text).data, preprocessor.prepare(text.encode()).data
    )


def test_long_text_is_cut_and_still_ends_with_the_separator() -> None:
    prepared = preprocessor.prepare("loom " * 5000)
    assert prepared.cost == len(prepared.data) == 256
    assert prepared.data[-1] == SEP


@pytest.mark.parametrize(("words", "truncated"), [(1, False), (254, False), (255, True)])
def test_text_beyond_the_window_is_marked(words: int, truncated: bool) -> None:
    assert preprocessor.prepare("cat " * words).truncated is truncated


def test_blanks_beyond_the_window_are_no_loss() -> None:
    assert not preprocessor.prepare("cat " * 254 + " \n" * 500).truncated


def test_batch_is_padded_to_its_longest_text_only() -> None:
    batch = [preprocessor.prepare(text) for text in ("one", "one two three four five six seven")]
    arrays = preprocessor.collate(batch)
    assert arrays["input_ids"].shape == arrays["attention_mask"].shape == (2, 16)
    assert arrays["attention_mask"].sum(axis=1).tolist() == [3, 9]
    assert not arrays["input_ids"][arrays["attention_mask"] == 0].any()


@pytest.mark.parametrize("text", ["", " \n\t ", "\x00\x01", "\u200b", b""])
def test_text_that_says_nothing_is_refused(text: str | bytes) -> None:
    error = refused(text)
    assert (error.field, error.value) == ("text.tokens", 0)


def test_nul_inside_a_text_is_ignored() -> None:
    np.testing.assert_array_equal(
        preprocessor.prepare("go\x00od").data, preprocessor.prepare("good").data
    )


@pytest.mark.parametrize("raw", ["half of a pair: \ud83d", b"\xff\xfe", b"cut \xf0\x9f\x98"])
def test_text_that_is_not_unicode_is_refused(raw: str | bytes) -> None:
    assert refused(raw).field == "text.encoding"


def test_byte_limit_counts_utf8_bytes() -> None:
    using = TextPreprocessor(TOKENIZER, 256, InputLimits(max_text_bytes=6))
    assert len(using.prepare("éàü").data) > 2
    error = refused("éàüx", using)
    assert (error.field, error.limit, error.value) == ("text.bytes", 6, 7)


def test_ten_megabytes_of_text_are_refused() -> None:
    assert refused("x" * 10_000_000).value == 10_000_000


def test_pixels_are_refused_by_a_text_backbone() -> None:
    assert refused(np.zeros((8, 8, 3), np.uint8)).field == "input"


@given(st.text(max_size=300) | st.binary(max_size=300))
def test_any_text_is_tokenized_or_refused(raw: str | bytes) -> None:
    try:
        prepared = preprocessor.prepare(raw)
    except InvalidInput:
        return
    assert 3 <= len(prepared.data) <= prepared.cost <= 256


def test_broken_tokenizer_file_is_a_backbone_error(tmp_path: Path) -> None:
    broken = tmp_path / "tokenizer.json"
    broken.write_text("{}")
    with pytest.raises(BackboneError, match=r"tokenizer\.json"):
        TextPreprocessor(broken, 256, InputLimits())
