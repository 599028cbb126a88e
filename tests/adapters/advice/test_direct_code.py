"""The lines that stand for direct training make the model that was measured."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from adapters.advice import Advisor, Pixels, Texts
from adapters.advice.options import LinearLearner

N = 240


def run(code: str, inputs: Sequence[object], labels: Sequence[object]) -> tuple[Any, float]:
    """What the lines make, and the accuracy that they print."""
    names: dict[str, Any] = {"inputs": list(inputs), "labels": list(labels)}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(code, names)
    return names, float(printed.getvalue())


def saved(folder: Path, pictures: NDArray[np.uint8]) -> list[str]:
    for number, picture in enumerate(pictures):
        Image.fromarray(picture).save(folder / f"{number:03}.png")
    return [str(path) for path in sorted(folder.iterdir())]


@pytest.mark.parametrize("classes", [2, 10])
@pytest.mark.parametrize("family", ["logistic", "ridge"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lines_for_pictures_make_the_model_that_was_measured(
    tmp_path: Path, classes: int, family: str, channels: int
) -> None:
    digits = load_digits(n_class=classes)
    pictures = (digits.images[:N] * 15).astype(np.uint8)
    targets = digits.target[:N].astype(np.intp)
    if channels == 3:
        pictures = np.stack([pictures, pictures // 2, 255 - pictures], axis=-1)
    raw = Pixels(pictures.reshape(N, -1))
    learner = LinearLearner(raw.scaled, targets, family, 0)
    names, accuracy = run(learner.code(10), saved(tmp_path, pictures), targets)
    assert np.array_equal(names["rows"].astype(np.float32), raw.scaled)
    noisy = np.clip(raw.scaled + np.random.default_rng(0).normal(0, 0.3, raw.scaled.shape), 0, 1)
    answers = names["model"].predict(noisy)
    assert np.mean(answers == learner.predict(noisy)) > 0.99
    held_out = learner.held_out(np.arange(N) % 10).argmax(axis=1)
    assert abs(accuracy - np.mean(held_out == targets)) < 0.04


@pytest.mark.parametrize("bounded", [False, True])
def test_lines_for_texts_make_the_model_that_was_measured(
    bounded: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if bounded:
        monkeypatch.setattr("adapters.advice.direct_features.MAX_WEIGHTS", 100)
    texts, labels = sayings(N, 0)
    embeddings = np.random.default_rng(1).normal(size=(N, 8)).astype(np.float32)
    advisor = Advisor({"blind": embeddings}, Texts(texts, 2), labels)
    for option in advisor.options:
        advisor.evaluate(option)
    advice = advisor.conclude()
    assert ("max_features=50" in advice.direct_code) is bounded
    names, accuracy = run(advice.direct_code, texts, labels)
    (measured,) = (row.estimate.accuracy for row in advice.options if row.name == "direct")
    assert abs(accuracy - measured) < 0.04
    others, _ = sayings(N, 7)
    mine = advisor.learner("direct").predict(others)
    theirs = names["model"].predict(others)
    assert np.mean(theirs == np.array(["no", "yes"])[mine]) > (0.9 if bounded else 0.99)


def test_lines_for_few_texts_without_a_word_in_common_run() -> None:
    texts = ["one two", "three four", "five six", "seven eight"]
    labels = ["a", "a", "b", "b"]
    advisor = Advisor({"blind": np.eye(4, dtype=np.float32)}, Texts(texts, 2), labels)
    for option in advisor.options:
        advisor.evaluate(option)
    names, accuracy = run(advisor.conclude().direct_code, texts, labels)
    assert 0 <= accuracy <= 1
    assert set(names["model"].classes_) == {"a", "b"}


def sayings(count: int, seed: int) -> tuple[list[str], list[str]]:
    """Texts of random words, one of which mostly tells the label, some longer than is read."""
    rng = np.random.default_rng(seed)
    words = [f"word{number}" for number in range(40)]
    targets = [number % 2 for number in range(count)]
    texts = []
    for target in targets:
        told = target if rng.random() < 0.9 else 1 - target
        said = ["Blicket!", "dax ;)"][told]
        texts.append(" ".join([*rng.choice(words, 5), said, *rng.choice(words, 5)]))
    texts[::20] = [f"{text} {'x ' * 2000} Blicket! dax" for text in texts[::20]]
    return texts, [("no", "yes")[target] for target in targets]
