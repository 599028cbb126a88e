"""Copies are found, strangers are not, and what is missed among very many is known."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits, load_wine

import adapters.near_copies as near_copies
import models
from adapters.groups import Groups
from adapters.near_copies import NearCopies, Space
from adapters.near_pairs import collision
from service.demo import data
from tests.adapters.data import blobs, noisy
from tests.adapters.groups_data import photos, saved_again


def grouped(embeddings: np.ndarray, labels: list[str]) -> np.ndarray:
    targets = np.unique(labels, return_inverse=True)[1]
    return Groups.find(embeddings, targets).numbers


def alarms(embeddings: np.ndarray, labels: list[str]) -> int:
    """How many examples are called a near-copy of another."""
    numbers = grouped(embeddings, labels)
    return int((np.bincount(numbers)[numbers] > 1).sum())


@pytest.mark.parametrize("noise", [0.0, 1e-3, 0.03, 0.1])
@pytest.mark.parametrize(("count", "copies"), [(60, 2), (16, 5), (12, 9), (30, 15)])
def test_copies_are_found_and_no_two_photos_are_called_one(
    count: int, copies: int, noise: float
) -> None:
    rows, labels, names = saved_again(*photos(count), copies, noise=noise)
    truth = np.unique(names, return_inverse=True)[1]
    numbers = grouped(rows, labels)
    pairs = {
        (number, photo) for number, photo in zip(numbers.tolist(), truth.tolist(), strict=True)
    }
    assert len(pairs) == len(set(numbers.tolist())) == count


@pytest.mark.parametrize("copies", [2, 5])
def test_copies_are_found_that_differ_as_all_photos_do_in_a_few_directions(copies: int) -> None:
    rows, labels = photos(80 // copies * 2)
    names = np.repeat(np.arange(len(rows)), copies)
    spread = np.where(np.arange(64) < 3, 10.0, 1.0)
    noise = np.random.default_rng(1).normal(size=(len(names), 64))
    again = (rows[names] + 0.2 * noise) * spread + 30
    numbers = grouped(again.astype(np.float32), [label for label in labels for _ in range(copies)])
    together = numbers[:, None] == numbers
    same = names[:, None] == names
    assert together[same].mean() >= 0.95
    assert not together[~same].any()


@pytest.mark.parametrize("n", [60, 400, 1000])
def test_strangers_among_many_directions_are_not_called_copies(n: int) -> None:
    rng = np.random.default_rng(n)
    rows = 1 + rng.normal(size=(n, 640)) * np.linspace(2.0, 0.2, 640)
    assert alarms(rows.astype(np.float32), [f"class {row % 5}" for row in range(n)]) == 0


@pytest.mark.parametrize("n", [30, 100, 600])
def test_strangers_are_not_called_copies(n: int) -> None:
    assert alarms(*blobs(n, 100, 3)) == 0
    assert alarms(*noisy(n, 100, 3, distance=2.0)) == 0


def test_data_of_few_dimensions_is_not_called_copies() -> None:
    wine = load_wine()
    assert alarms(wine.data, [str(target) for target in wine.target]) <= 4
    assert alarms(*noisy(600, 5, 3, distance=2.0)) <= 12


def test_classes_that_lie_close_together_are_not_called_copies() -> None:
    assert alarms(*blobs(300, 50, 60, distance=20.0)) <= 6
    assert alarms(*blobs(60, 8, 2, distance=1e4)) == 0


def test_embeddings_that_are_all_alike_say_nothing_of_copies() -> None:
    assert alarms(np.ones((20, 8), np.float32), ["a", "b"] * 10) == 0


def test_equal_embeddings_are_copies_whatever_their_label() -> None:
    rows, labels = photos(30)
    rows[7] = rows[2]
    numbers = grouped(rows, [f"class {row % 2}" for row in range(30)])
    assert numbers[7] == numbers[2]
    assert len(set(numbers.tolist())) == 29
    assert labels


def test_a_chain_that_fills_a_fold_is_parted_and_counted() -> None:
    rng = np.random.default_rng(0)
    others = rng.normal(size=(200, 64))
    way = np.cumsum(0.04 * rng.normal(size=(150, 64)), axis=0) + rng.normal(size=64)
    rows = np.concatenate([others, way]).astype(np.float32)
    labels = [f"class {row % 2}" for row in range(350)]
    targets = np.unique(labels, return_inverse=True)[1]
    space = Space(rows, targets)
    chain = np.concatenate([np.arange(200), np.full(150, 200)])
    names = [None] * 340 + ["end"] * 10
    found = Groups.of(NearCopies(chain), space, targets, names)
    assert found.parted == 150
    assert len(set(found.numbers[200:340].tolist())) == 140
    assert len(set(found.numbers[340:].tolist())) == 1


def test_equal_embeddings_of_a_parted_chain_stay_together() -> None:
    rng = np.random.default_rng(0)
    way = np.cumsum(0.04 * rng.normal(size=(75, 64)), axis=0) + rng.normal(size=64)
    rows = np.concatenate([rng.normal(size=(200, 64)), way, way]).astype(np.float32)
    targets = np.arange(350) % 2
    chain = np.concatenate([np.arange(200), np.full(150, 200)])
    found = Groups.of(NearCopies(chain), Space(rows, targets), targets)
    assert found.parted == 150
    assert (found.numbers[200:275] == found.numbers[275:]).all()
    assert found.count == 275


def test_two_rows_share_a_cell_as_often_as_is_said() -> None:
    rng = np.random.default_rng(0)
    for distance in (0.1, 0.25, 1.0):
        normals = rng.normal(size=200_000)
        cells = rng.uniform(size=200_000)
        shared = np.floor(cells) == np.floor(cells + distance * normals)
        assert np.mean(shared) == pytest.approx(collision(distance), abs=0.005)


def test_among_very_many_a_pair_at_the_threshold_is_missed_as_seldom_as_is_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(near_copies, "EXACT", 100)
    monkeypatch.setattr(near_copies, "SAMPLE", 400)
    monkeypatch.setattr(near_copies, "MISSED", 0.2)
    found = told = pairs = 0.0
    for seed in range(6):
        rows, labels = photos(600, seed=seed)
        targets = np.unique(labels, return_inverse=True)[1]
        space = Space(np.concatenate([rows, rows]), np.tile(targets, 2), seed)
        # Partners at exactly the threshold that the search is laid out for.
        radius = float(np.quantile(space.radii, 0.9))
        moved = space.rows.copy()
        step = np.random.default_rng(seed).normal(size=rows.shape)
        step *= np.sqrt(2 * radius) / np.linalg.norm(step, axis=1, keepdims=True)
        moved[600:] = moved[:600] + 0.999 * step
        space.rows = moved
        space.squares = np.einsum("nd,nd->n", moved, moved)
        space.radii = np.full(1200, radius, np.float32)
        space.equal = np.arange(1200)
        copies = NearCopies.of(space, seed)
        found += int((copies.components[:600] == copies.components[600:]).sum())
        told += 600 * copies.missed
        pairs += 600
    missed = 1 - found / pairs
    assert 0.5 * told / pairs <= missed <= told / pairs + 0.02
    assert told / pairs <= 0.2


@pytest.mark.costly
def test_copies_among_ten_thousand_are_found() -> None:
    rows, labels, _ = saved_again(*photos(4500, classes=9, dim=48), 2, noise=0.02)
    targets = np.unique(labels, return_inverse=True)[1]
    found = Groups.find(rows, targets)
    pairs = found.numbers.reshape(-1, 2)
    assert 0 < found.missed <= 0.01
    assert np.mean(pairs[:, 0] == pairs[:, 1]) >= 0.99
    assert found.count >= 4490


@pytest.mark.costly
def test_photos_saved_again_are_found_and_different_ones_of_a_fabric_are_not(
    tmp_path: Path,
    cache_dir: Path,
) -> None:
    name = models.default_backbone(models.Modality.IMAGE)
    backbone = models.load_backbone(name, cache_dir=cache_dir)
    try:
        items = data.textile(tmp_path)[::12][:150]
        inputs = [path.read_bytes() for path, _ in items if isinstance(path, Path)]
        again = [saved(raw, 75 + row % 21) for row, raw in enumerate(inputs[:30])]
        prepared = [backbone.preprocess(raw) for raw in [*inputs, *again]]
        parts = [prepared[first : first + 30] for first in range(0, len(prepared), 30)]
        rows = np.concatenate([backbone.forward(part) for part in parts])
    finally:
        backbone.close()
    labels = [label for _, label in items]
    assert alarms(rows[:150], labels) == 0
    numbers = grouped(rows, labels + labels[:30])
    found = np.mean(numbers[:30] == numbers[150:])
    assert found >= 0.8
    assert len(set(numbers.tolist())) == 180 - round(30 * found)


def test_digits_of_one_class_are_not_called_copies() -> None:
    digits = load_digits()
    share = alarms(digits.data, [str(target) for target in digits.target]) / len(digits.data)
    assert share <= 0.05


def saved(raw: bytes, quality: int) -> bytes:
    """A picture saved again as JPEG."""
    out = io.BytesIO()
    Image.open(io.BytesIO(raw)).convert("RGB").save(out, "JPEG", quality=quality)
    return out.getvalue()
