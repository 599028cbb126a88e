"""`trunkline label --open`: inputs in the system's viewer, which is a script here."""

import io
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.trunkline.cli.labelling import HEAD, labels
from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run
from trunkline import Client
from trunkline.values.inputs import InputLike

PNG = b"\x89PNG\r\n\x1a\n and the rest"
MakeOpener = Callable[[str], None]


@pytest.fixture
def make_opener(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeOpener:
    """Makes a program that opens files, as a shell script, and a display for it."""

    def make(script: str) -> None:
        (tmp_path / "bin").mkdir()
        for name in ("xdg-open", "open"):
            opener = tmp_path / "bin" / name
            opener.write_text(f"#!/bin/sh\n{script}\n")
            opener.chmod(stat.S_IRWXU)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
        monkeypatch.setenv("DISPLAY", ":0")

    return make


class Looking(io.BytesIO):
    """Answers that wait until something was opened; `opened` are the paths and contents."""

    def __init__(self, answers: bytes, told: Path) -> None:
        super().__init__(answers)
        self._told = told
        self.opened: list[tuple[Path, bytes]] = []
        os.mkfifo(told)

    def readline(self, size: int | None = -1, /) -> bytes:
        path = Path(self._told.read_text())
        self.opened.append((path, path.read_bytes()))
        return super().readline(size)


@pytest.fixture
def looking(tmp_path: Path, make_opener: MakeOpener) -> Looking:
    """Answers of somebody who sees what is opened."""
    make_opener(f'printf %s "$1" > "{tmp_path / "told"}"; echo noise; echo noise >&2')
    return Looking(b"cat\n" * 9, tmp_path / "told")


def test_pictures_at_hand_are_opened_where_they_are(
    run: Run, recorder: Recorder, tmp_path: Path, looking: Looking
) -> None:
    pictures = tmp_path / "- odd name"
    pictures.mkdir()
    for name in ("a", "b"):
        (pictures / f"{name}.png").write_bytes(name.encode())
    result = run("label", "acme/mood", pictures, "--open", answers=looking)
    assert result.exit_code == 0, result.stderr
    assert looking.opened == [(pictures / "a.png", b"a"), (pictures / "b.png", b"b")]
    assert set(recorder.examples[HEAD].values()) == {"cat"}
    assert "noise" not in result.output


@pytest.mark.parametrize(
    ("given", "suffix", "content"),
    [
        (PNG, ".png", PNG),
        (np.full((2, 3, 3), 7, np.uint8), ".ppm", b"P6 3 2 255\n" + b"\7" * 18),
        ("a text of some length", ".txt", b"a text of some length"),
    ],
)
def test_kept_inputs_are_opened_as_private_files_that_are_gone_afterwards(
    run: Run, client: Client, looking: Looking, given: InputLike, suffix: str, content: bytes
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2", keep_inputs=True)
    client.add_examples("acme/mood", [(given, None)])
    modes: list[int] = []
    read = looking.readline

    def readline(size: int | None = -1, /) -> bytes:
        line = read(size)
        modes.append(looking.opened[0][0].parent.stat().st_mode)
        return line

    looking.readline = readline  # type: ignore[method-assign]
    assert run("label", "acme/mood", "--open", answers=looking).exit_code == 0
    ((path, shown),) = looking.opened
    assert (path.suffix, shown, stat.S_IMODE(modes[0])) == (suffix, content, 0o700)
    assert not path.parent.exists()


def test_an_input_that_is_not_kept_is_said_to_be_none_to_open(
    run: Run, recorder: Recorder, unlabelled: list[str], make_opener: MakeOpener
) -> None:
    make_opener("exit 0")
    result = run("label", "acme/mood", "--count", 2, "--open", answers="yes\nno\n")
    assert labels(recorder, unlabelled[:2]) == ["yes", "no"]
    assert result.stderr.count("cannot be opened: the head does not keep its inputs") == 2


@pytest.mark.parametrize("lacking", ["DISPLAY", "PATH"])
def test_a_machine_without_a_viewer_says_so_once_and_labels(
    run: Run,
    recorder: Recorder,
    unlabelled: list[str],
    monkeypatch: pytest.MonkeyPatch,
    lacking: str,
) -> None:
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setenv(lacking, "")
    result = run("label", "acme/mood", "--count", 2, "--open", answers="yes\nno\n")
    assert result.exit_code == 0
    assert labels(recorder, unlabelled[:2]) == ["yes", "no"]
    assert result.stderr.count("nothing can be opened") == 1


class Failing(io.BytesIO):
    """Answers, the first of which waits until the program that opens has ended."""

    def __init__(self, answers: bytes, told: Path) -> None:
        super().__init__(answers)
        self._told: Path | None = told
        os.mkfifo(told)

    def readline(self, size: int | None = -1, /) -> bytes:
        if self._told:
            os.waitid(os.P_PID, int(self._told.read_text()), os.WEXITED | os.WNOWAIT)
            self._told = None
        return super().readline(size)


def test_a_program_that_fails_is_named_once_and_labelling_goes_on(
    run: Run, tmp_path: Path, recorder: Recorder, client: Client, make_opener: MakeOpener
) -> None:
    make_opener(f'echo $$ > "{tmp_path / "told"}"; exit 3')
    client.create_head("acme/mood", "minilm/l6-v2", keep_inputs=True)
    client.add_examples("acme/mood", [(text, None) for text in ("one", "two", "three")])
    result = run(
        "label", "acme/mood", "--open", answers=Failing(b"no\nyes\nno\n", tmp_path / "told")
    )
    assert labels(recorder, ["one", "two", "three"]) == ["no", "yes", "no"]
    assert result.stderr.count("nothing can be opened") == 1
    assert "xdg-open: exit status 3" in result.stderr


def test_a_viewer_that_holds_the_program_is_closed_with_the_next_input(
    run: Run, tmp_path: Path, client: Client, make_opener: MakeOpener
) -> None:
    told, held = tmp_path / "told", tmp_path / "held"
    make_opener(f'echo $$ >> "{held}"; printf %s "$1" > "{told}"; exec tail -f /dev/null')
    client.create_head("acme/mood", "minilm/l6-v2", keep_inputs=True)
    client.add_examples("acme/mood", [("one", None), ("two", None)])
    run("label", "acme/mood", "--open", answers=Looking(b"no\nyes\n", told))
    numbers = [int(number) for number in held.read_text().split()]
    assert len(numbers) == 2
    for number in numbers:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)
