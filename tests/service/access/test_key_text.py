from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from service.access.key_text import HASH_BYTES, PREFIX, hash_of, is_text, new_text


def test_new_keys_have_their_form_and_are_never_the_same() -> None:
    keys = {new_text() for _ in range(1000)}
    assert len(keys) == 1000
    assert all(is_text(key) and key.startswith(PREFIX) and len(key) == 37 for key in keys)
    assert {len(hash_of(key)) for key in keys} == {HASH_BYTES}


@given(st.integers(0, 36), st.characters())
def test_key_with_another_character_is_none(place: int, character: str) -> None:
    key = new_text()
    changed = key[:place] + character + key[place + 1 :]
    assert is_text(changed) == (changed == key)


@given(st.text(max_size=60))
def test_what_only_looks_like_a_key_is_none(text: str) -> None:
    assert not is_text(text)
    assert not is_text(PREFIX + text)
