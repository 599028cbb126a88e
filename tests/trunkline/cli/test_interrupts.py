"""Ctrl-C and SIGTERM: a command says what is done and how to go on."""

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.terminal import CTRL_C, Terminal
from tests.trunkline.recording import Recorder, Server
from tests.trunkline.steps import Run, trained
from trunkline import Client

TRUNKLINE = [sys.executable, "-m", "trunkline"]


class Busy:
    """What a server is that does not answer until its client has left."""

    def __init__(self) -> None:
        self.asked = threading.Event()

    def __call__(self, _: Any, context: Any) -> None:
        left = threading.Event()
        if context.add_callback(left.set):
            self.asked.set()
            left.wait(60)


@pytest.fixture
def many(tmp_path: Path) -> Path:
    path = tmp_path / "many.csv"
    rows = [f"text {row},{'yes' if row % 2 else 'no'}" for row in range(400)]
    path.write_text("\n".join(["text,label", *rows]))
    return path


def ended(
    server: Server, busy: Busy, *arguments: object, number: signal.Signals = signal.SIGINT
) -> tuple[int, str, str]:
    """Runs a command, sends the signal when the server is asked; gives status and output."""
    command = [*TRUNKLINE, "--server", server.address, *map(str, arguments)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert busy.asked.wait(60)
            process.send_signal(number)
            stdout, stderr = process.communicate(timeout=60)
        finally:
            process.kill()
    assert "Traceback" not in stderr
    return process.returncode, stdout, stderr


def test_an_interrupted_upload_says_how_much_is_stored_and_goes_on_when_it_is_repeated(
    run: Run, server: Server, recorder: Recorder, many: Path
) -> None:
    busy = Busy()
    recorder.hooks["AddExamples"] = [lambda *_: None, busy]
    code, stdout, stderr = ended(server, busy, "train", "acme/mood", many, "--json")
    words = "the server has acknowledged 128 of 400 examples; the same command goes on"
    assert (code, words in stderr) == (130, True)
    assert json.loads(stdout)["error"] == {
        "code": "CANCELLED",
        "message": f"interrupted: {words} from there",
    }
    again = run("train", "acme/mood", many, "--json")
    assert json.loads(again.stdout)["upload"]["known"] >= 128


def test_a_second_ctrl_c_ends_at_once(
    server: Server, recorder: Recorder, client: Client, many: Path
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    client.add_examples("acme/mood", [("good", None), ("bad", None)])
    busy = Busy()
    recorder.hooks["UpdateExamples"] = [busy]
    with Terminal(server.address, "label", "acme/mood") as terminal:
        terminal.answer("yes\n")
        terminal.expect("[2/2]")
        terminal.press(CTRL_C)
        assert busy.asked.wait(60), "what was answered is sent"
        terminal.press(CTRL_C)
        assert terminal.end()[0] == -signal.SIGINT, "by the signal itself"
    assert "Traceback" not in terminal.shown


def test_ctrl_c_in_a_terminal_ends_the_watching_of_a_training_with_the_ways_back(
    server: Server, recorder: Recorder, table: Path
) -> None:
    busy = Busy()
    recorder.hooks["TrainHead"] = [busy]
    with Terminal(server.address, "train", "acme/mood", table) as terminal:
        assert busy.asked.wait(60)
        terminal.press(CTRL_C)
        assert terminal.end()[0] == 130
    assert "Traceback" not in terminal.shown
    assert "the training goes on" in terminal.shown
    assert "  trunkline train acme/mood\n" in terminal.shown
    assert "  trunkline trainings cancel acme/mood\n" in terminal.shown
    assert recorder.asked("CancelTraining") == []


def test_an_interrupted_evaluation_says_how_far_it_was(
    server: Server, recorder: Recorder, client: Client, many: Path
) -> None:
    trained(client)
    busy = Busy()
    recorder.hooks["Predict"] = [lambda *_: None, busy]
    code, stdout, stderr = ended(
        server, busy, "evaluate", "acme/mood", many, "--json", number=signal.SIGTERM
    )
    assert (code, json.loads(stdout)["error"]["code"]) == (143, "CANCELLED")
    assert "looked at 128 of 400 rows; nothing is stored" in stderr


def test_an_interrupted_test_says_that_the_version_is_trained(
    server: Server, recorder: Recorder, table: Path, many: Path
) -> None:
    busy = Busy()
    recorder.hooks["Predict"] = [busy]
    code, _, stderr = ended(server, busy, "train", "acme/mood", table, "--test", many)
    assert code == 130
    assert "version 1 is trained; 0 of 400 rows of the test set were looked at" in stderr


@pytest.mark.parametrize(
    ("method", "command", "words"),
    [
        ("Advise", ["advise", "{table}"], "nothing is stored; the same command begins anew"),
        ("AddExamples", ["label", "acme/mood", "{table}"], "acknowledged 0 of 4 examples"),
    ],
)
def test_other_commands_say_what_there_is_to_say(
    server: Server,
    recorder: Recorder,
    table: Path,
    method: str,
    command: list[str],
    words: str,
) -> None:
    busy = Busy()
    recorder.hooks[method] = [busy]
    code, stdout, stderr = ended(server, busy, *(word.format(table=table) for word in command))
    assert (code, stdout) == (130, "")
    assert words in stderr


def test_a_terminal_shows_what_is_acknowledged_and_the_time_left(
    server: Server, recorder: Recorder, many: Path
) -> None:
    busy = Busy()
    recorder.hooks["AddExamples"] = [lambda *_: None, busy]
    with Terminal(server.address, "train", "acme/mood", many) as terminal:
        assert busy.asked.wait(60)
        terminal.expect("128/400")
        terminal.expect(" left")
        terminal.press(CTRL_C)
        assert terminal.end()[0] == 130


def test_ctrl_c_while_the_command_line_is_imported_ends_it_quietly() -> None:
    program = """
import sys
from trunkline.__main__ import main

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "trunkline.cli":
            print("importing", flush=True)
            sys.stdin.read()

sys.meta_path.insert(0, Slow())
main()
"""
    command, pipe = [sys.executable, "-c", program], subprocess.PIPE
    with subprocess.Popen(command, text=True, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (-signal.SIGINT, "")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("n\n", "not confirmed: it was not done"),
        ("\n", "not confirmed: it was not done"),
        ("\x04", "the input ended before an answer: it was not done"),
        (CTRL_C, "interrupted"),
    ],
)
def test_question_that_is_not_answered_with_yes_says_that_nothing_was_done(
    run: Run, recorder: Recorder, server: Server, table: Path, answer: str, words: str
) -> None:
    run("train", "acme/mood", table)
    with Terminal(server.address, "heads", "delete", "acme/mood") as terminal:
        terminal.expect("[y/N]: ")
        terminal.press(answer)
        assert terminal.end()[0] != 0
    assert words in terminal.shown
    assert "Abort" not in terminal.shown
    assert "tenants/acme/heads/mood" in recorder.heads
