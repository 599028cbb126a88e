"""`trunkline predict` into a file, interrupted and gone on with; and how far it is."""

import csv
import json
import os
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.terminal import CTRL_C, Terminal
from tests.trunkline.recording import Recorder, Server, refuse
from tests.trunkline.steps import Run, trained
from trunkline import Client
from trunkline.digest import text_digest

ROWS = 300
"""Three requests."""


@pytest.fixture
def mood(client: Client) -> str:
    trained(client)
    return "acme/mood"


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """Texts of which one comes twice, and one over two lines."""
    path = tmp_path / "texts.jsonl"
    rows = ["twice", "twice", 'two\r\n"lines"', *map(str, range(ROWS - 3))]
    path.write_text("".join(json.dumps({"text": row}) + "\n" for row in rows))
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return list(csv.DictReader(file))
    return [json.loads(line) for line in path.read_text().splitlines()]


def pass_by(_: Any, __: grpc.ServicerContext) -> None:
    pass


def refuse_call(_: Any, context: grpc.ServicerContext) -> None:
    refuse(context, "INTERNAL", "it broke")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("cut", [1, 30])
def test_an_interrupted_run_goes_on_where_it_was(
    run: Run, recorder: Recorder, mood: str, texts: Path, tmp_path: Path, suffix: str, cut: int
) -> None:
    whole, output = tmp_path / f"whole.{suffix}", tmp_path / f"output.{suffix}"
    assert run("predict", mood, texts, "--output", whole).exit_code == 0
    # Whatever comes after the first request is not written, as it comes after it.
    recorder.hooks["Predict"] = [pass_by, refuse_call, refuse_call]
    stopped = run("predict", mood, texts, "--output", output)
    assert (stopped.exit_code, stopped.stdout) == (1, "")
    assert f"rows answered: {output}; the same command with --resume goes on" in stopped.stderr
    written = len(rows_of(output))
    assert 0 < written < ROWS
    os.truncate(output, output.stat().st_size - cut)
    recorder.hooks.clear()
    recorder.requests.clear()
    resumed = run("predict", mood, texts, "--output", output, "--resume")
    assert resumed.exit_code == 0, resumed.stderr
    assert f"{output} has {written - 1} rows; the others are added" in resumed.stderr
    assert f"{output} ends with half a line" in resumed.stderr
    assert f"{ROWS - written + 1} rows answered, {ROWS} in all: {output}" in resumed.stderr
    assert output.read_bytes() == whole.read_bytes()
    asked = {item.text for request in recorder.asked("Predict") for item in request.inputs}
    known = [row.get("text") or row["name"] for row in rows_of(whole)[: written - 1]]
    assert asked.isdisjoint(known)


def test_rows_that_the_file_has_are_left_out_wherever_they_stand(
    run: Run, recorder: Recorder, mood: str, table: Path, tmp_path: Path
) -> None:
    recorder.bad_digests.add(text_digest("bad"))
    output = tmp_path / "output.jsonl"
    first = run("predict", mood, "--text", "bad", "--text", "gone", "--output", output)
    assert (first.exit_code, "2 rows answered, 1 failed" in first.stderr) == (1, True)
    # The failed row counts: the file as a whole has one.
    again = run("predict", mood, table, "--output", output, "--resume")
    assert again.exit_code == 1
    assert "has 2 rows, 1 of them failed" in again.stderr
    assert f"1 row of {output}: not among the inputs that are given now" in again.stderr
    assert [row["text"] for row in rows_of(output)] == ["bad", "gone", "good", "fine", "awful"]


def test_a_file_is_neither_overwritten_nor_mixed(
    run: Run, mood: str, table: Path, tmp_path: Path
) -> None:
    run("train", "acme/other", table)
    output = tmp_path / "output.csv"
    asked = ["--text", "good", "--output", output]
    assert run("predict", mood, *asked, "--resume").exit_code == 0  # there is no file yet
    before = output.read_bytes()

    def refused(*arguments: object) -> str:
        result = run("predict", *arguments)
        assert (result.exit_code, output.read_bytes()) == (1, before)
        return result.stderr

    assert f"{output} exists: --resume goes on with it" in refused(mood, *asked)
    words = refused("acme/other", *asked, "--resume")
    assert "has answers of acme/mood, not of acme/other: give another --output" in words
    words = refused(mood, *asked, "--resume", "--top", 2)
    assert "other columns than this command writes" in words
    assert "line 1 is not as `trunkline predict --output` writes it" in refused(
        mood, *asked, "--resume", "--json"
    )
    run("train", mood, table)
    words = refused(mood, *asked, "--resume")
    assert "answers of version 1, and version 2 is to answer now: --version 1 goes on" in words
    assert run("predict", mood, *asked, "--resume", "--version", 1).exit_code == 0
    for name in ("other.csv", "other.jsonl"):
        for content in (b"text,label\nmine,yes\n", b"text,label\r\n", b"mine", b"[1]", b"{}\n"):
            other = tmp_path / name
            other.write_bytes(content)
            refused(mood, "--text", "x", "--output", other, "--resume")
            assert other.read_bytes() == content


def test_a_bar_shows_how_far_it_is_and_ctrl_c_how_to_go_on(
    server: Server, recorder: Recorder, mood: str, texts: Path, tmp_path: Path
) -> None:
    go_on = threading.Event()

    def wait(_: Any, __: grpc.ServicerContext) -> None:
        go_on.wait(60)

    recorder.hooks["Predict"] = [pass_by, wait, wait]
    folder = tmp_path / "folder"
    folder.mkdir()
    for number in range(ROWS):
        (folder / f"{number:03}.txt").write_text(str(number))
    output = tmp_path / "output.jsonl"
    with Terminal(server.address, "predict", mood, folder, "--output", output) as terminal:
        assert "predicting" in terminal.expect("128/300")
        terminal.expect(" left")
        terminal.press(CTRL_C)
        status, shown = terminal.end()
        go_on.set()
    assert status == 130
    assert f"interrupted:\n128 rows answered: {output}; the same command with" in shown
    assert len(rows_of(output)) == 128


def test_no_bar_comes_between_rows_in_the_same_terminal(server: Server, mood: str) -> None:
    with Terminal(server.address, "predict", mood, "--text", "good") as terminal:
        _, shown = terminal.end()
    assert shown == "good\tyes\t0.7500\nnext: trunkline feedback acme/mood --text good LABEL\n"
