"""Activations on the disk: bounded, whole after a crash, and gone when they should be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from adapters import InvalidArgument
from adapters.spec import CROPPED, FLIPPED, ViewSet
from service.errors import PreconditionFailed, StoreFailed, StoreFull
from service.store.view_digests import view_digest, view_digests
from service.tuning.activation_files import ActivationFiles, Key, map_rows
from service.tuning.durable_files import write
from service.tuning.mapped_activations import StoredActivations
from tests.service.disk_limits import files_up_to
from trunkline.digest import text_digest

BACKBONE = "f" * 64
ONE, TWO, THREE = (Key(BACKBONE, uid) for uid in ("one", "two", "three"))
KB = 1000


def row(number: float, size: int = 8) -> NDArray[np.float16]:
    return np.full(size, number, np.float16)


def files(tmp_path: Path, max_bytes: int = 100 * KB) -> ActivationFiles:
    return ActivationFiles(tmp_path / "activations", max_bytes)


def test_rows_come_back_also_after_a_restart(tmp_path: Path) -> None:
    first = files(tmp_path)
    first.add(ONE, {"a": row(1), "b": row(2, 3)})
    first.add(ONE, {"c": row(3)})
    again = files(tmp_path)
    assert again.known(ONE) == {"a", "b", "c"}
    assert again.known(TWO) == set()
    found = StoredActivations(again.folder(ONE), ["c", "a"], ViewSet())
    states, mask = found.rows(np.array([1, 0]), np.array([0, 0]))
    assert mask is not None
    np.testing.assert_array_equal(states, [row(1), row(3)])


def test_what_a_crash_left_half_written_is_deleted(tmp_path: Path) -> None:
    first = files(tmp_path)
    first.add(ONE, {"a": row(1)})
    part = first.folder(ONE) / "000001.safetensors.part"
    part.write_bytes(b"half")
    again = files(tmp_path)
    assert not part.exists()
    assert again.known(ONE) == {"a"}


@pytest.mark.parametrize("left", [0, 5, 40, -1])
def test_damaged_files_are_deleted_and_their_rows_are_missing(tmp_path: Path, left: int) -> None:
    first = files(tmp_path)
    first.add(ONE, {"a": row(1)})
    first.add(ONE, {"b": row(2)})
    damaged = first.folder(ONE) / "000000.safetensors"
    damaged.write_bytes(damaged.read_bytes()[:left])
    first.forget(ONE.uid, ["c"])
    assert first.known(ONE) == {"b"}
    assert not damaged.exists()


def test_file_that_cannot_be_written_names_the_cause_and_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "rows").mkdir()
    with pytest.raises(StoreFailed, match="rows cannot be written: Is a directory") as caught:
        write(tmp_path / "rows", b"data")
    assert caught.value.field == "data_dir"
    assert [path.name for path in tmp_path.iterdir()] == ["rows"]


def test_file_that_finds_no_room_says_that_the_disk_is_full(tmp_path: Path) -> None:
    with (
        files_up_to(KB),
        pytest.raises(StoreFull, match="rows cannot be written: File too large"),
    ):
        write(tmp_path / "rows", bytes(10 * KB))
    assert list(tmp_path.iterdir()) == []


def test_rows_are_forgotten_on_a_full_disk_too(tmp_path: Path) -> None:
    kept = files(tmp_path)
    gone, other = text_digest("gone"), text_digest("other")
    kept.add(ONE, {gone: row(1, KB), other: row(2, KB)})
    with files_up_to(KB):
        kept.forget(ONE.uid, [gone])
    assert gone not in kept.known(ONE)


def test_heads_that_were_tuned_longest_ago_make_room(tmp_path: Path) -> None:
    kept = files(tmp_path, 30 * KB)
    for key in (ONE, TWO):
        kept.make_room(key, 10 * KB)
        kept.add(key, {"a": row(0, 5 * KB)})
    kept.known(ONE)  # is used again
    kept.make_room(THREE, 15 * KB)
    assert (kept.known(ONE), kept.known(TWO)) == ({"a"}, set())


def test_head_that_does_not_fit_is_refused_and_the_others_stay(tmp_path: Path) -> None:
    kept = files(tmp_path, 30 * KB)
    kept.add(ONE, {"a": row(0, 5 * KB)})
    kept.add(TWO, {"a": row(0, 5 * KB)})
    with pytest.raises(PreconditionFailed) as caught:
        kept.make_room(ONE, 25 * KB)
    assert (caught.value.field, caught.value.limit) == ("activation_cache_bytes", 30 * KB)
    assert isinstance(caught.value.value, int)
    assert caught.value.value > 35 * KB
    assert (kept.known(ONE), kept.known(TWO)) == ({"a"}, {"a"})


def test_heads_own_rows_are_not_counted_twice_and_stay(tmp_path: Path) -> None:
    kept = files(tmp_path, 40 * KB)
    for key in (ONE, TWO):
        kept.add(key, {"a": row(0, 5 * KB)})
    kept.make_room(ONE, 15 * KB)
    assert (kept.known(ONE), kept.known(TWO)) == ({"a"}, {"a"})
    kept.make_room(ONE, 25 * KB)
    assert (kept.known(ONE), kept.known(TWO)) == ({"a"}, set())


digests = st.sets(st.integers(0, 20).map(lambda i: text_digest(str(i))), min_size=1)


@given(stored=digests, gone=digests)
def test_forgetting_takes_inputs_with_their_views_and_nothing_else(
    tmp_path_factory: pytest.TempPathFactory, stored: set[str], gone: set[str]
) -> None:
    kept = files(tmp_path_factory.mktemp("a"))
    names = {digest: {digest, view_digest(digest, 0), view_digest(digest, 7)} for digest in stored}
    for number, of_one in enumerate(names.values()):
        kept.add(ONE, {name: row(number) for name in of_one})
    kept.add(TWO, {name: row(0) for of_one in names.values() for name in of_one})
    kept.forget("one", gone)
    left = {name for digest in stored - gone for name in names[digest]}
    assert kept.known(ONE) == left
    assert kept.known(TWO) == {name for of_one in names.values() for name in of_one}
    kept.retain("two", stored - gone)
    assert kept.known(TWO) == left
    kept.drop("one")
    assert kept.known(ONE) == set()
    assert not kept.folder(ONE).exists()


def test_activations_and_inputs_of_a_head_are_kept_apart(tmp_path: Path) -> None:
    kept = files(tmp_path)
    kept.add(ONE, {"a": row(1)})
    kept.add(Key(BACKBONE, "one", prepared=True), {"a": np.zeros((2, 2, 3), np.uint8)})
    (path,) = kept.folder(ONE).iterdir()
    assert map_rows(path)["a"].dtype == np.float16
    kept.drop("one")
    assert kept.known(Key(BACKBONE, "one", prepared=True)) == set()


def test_texts_of_different_lengths_are_padded_and_masked(tmp_path: Path) -> None:
    kept = files(tmp_path)
    rows = {"short": np.ones((2, 3), np.float16), "long": np.full((4, 3), 2, np.float16)}
    kept.add(ONE, rows)
    found = StoredActivations(kept.folder(ONE), ["long", "short"], ViewSet())
    states, mask = found.rows(np.array([1, 0]), np.array([0, 0]))
    assert states.shape == (2, 4, 3)
    assert states.dtype == np.float16
    assert mask is not None
    assert mask.tolist() == [[1, 1, 0, 0], [1, 1, 1, 1]]
    np.testing.assert_array_equal(states[0, 2:], 0)
    np.testing.assert_array_equal(states[1], rows["long"])


def test_views_of_images_are_found_beside_them(tmp_path: Path) -> None:
    kept = files(tmp_path)
    digest = text_digest("picture")
    names = [digest, *view_digests(digest, 2), *view_digests(digest, 2, flips=True)]
    kept.add(ONE, {name: np.full((2, 3, 3), i, np.float16) for i, name in enumerate(names)})
    flips = StoredActivations(kept.folder(ONE), [digest], ViewSet(FLIPPED, 2))
    assert flips.rows(np.array([0, 0]), np.array([2, 0]))[0][:, 0, 0, 0].tolist() == [4, 0]
    found = StoredActivations(kept.folder(ONE), [digest], ViewSet(CROPPED, 2))
    states, mask = found.rows(np.array([0, 0]), np.array([2, 0]))
    assert mask is None
    assert states[:, 0, 0, 0].tolist() == [2, 0]
    with pytest.raises(InvalidArgument, match="deleted meanwhile"):
        StoredActivations(kept.folder(ONE), [digest], ViewSet(CROPPED, 3))
