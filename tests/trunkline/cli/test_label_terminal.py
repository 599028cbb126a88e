"""Labelling at a terminal: line editing, new classes, steps back, and how it ends."""

from pathlib import Path
from typing import Any

import pytest

from tests.terminal import CTRL_C, Terminal, Typed
from tests.trunkline.cli.labelling import HEAD, labels
from tests.trunkline.recording import Recorder, Server, refuse
from tests.trunkline.steps import Run
from trunkline import Client
from trunkline.digest import text_digest

ASKED = "new class 'yess'? nearest: 'yes' - [c]reate, [n]earest, [a]gain"


def test_a_person_labels_at_a_terminal(
    recorder: Recorder, server: Server, unlabelled: list[str]
) -> None:
    with Terminal(server.address, "label", "acme/mood", "--count", 4) as terminal:
        terminal.expect("Enter: no (60%), 2: yes (25%)")
        terminal.answer("\n")
        terminal.expect("[2/4]")
        terminal.answer("es\x1b[D\x1b[Dy\n")  # two keys to the left, and the missing letter
        terminal.expect("[3/4]")
        terminal.answer("yess\n")
        terminal.expect(ASKED)
        terminal.answer("what?\n")
        terminal.expect(ASKED)
        terminal.answer("n\n")
        terminal.expect("[4/4]")
        terminal.answer("b\n")
        terminal.expect("taken back: yes")
        terminal.expect("[3/4]")
        terminal.answer("wholly new\n")
        terminal.expect("new class 'wholly new'? - [c]reate, [a]gain")
        terminal.answer("C\n")
        terminal.expect("[4/4]")
        terminal.expect("3: wholly new")
        terminal.answer("s\n")
        terminal.expect("that was the last one")
        terminal.answer("\n")
        status, rest = terminal.end()
    assert labels(recorder, unlabelled[:4]) == ["no", "yes", "wholly new", None]
    assert status == 0
    assert "labelled 3 (no 1, yes 1, wholly new 1), skipped 1" in rest
    assert "next: trunkline train acme/mood" in rest


def test_ctrl_c_sends_what_was_answered(
    recorder: Recorder, server: Server, unlabelled: list[str]
) -> None:
    with Terminal(server.address, "label", "acme/mood") as terminal:
        terminal.expect("[1/10]")
        terminal.answer("yes\n")
        terminal.expect("[2/10]")
        terminal.answer("no\n")
        terminal.expect("[3/10]")
        terminal.answer(f"ye{CTRL_C}")
        status, rest = terminal.end()
    assert labels(recorder, unlabelled[:3]) == ["yes", "no", None]
    assert (status, "labelled 2 (yes 1, no 1), skipped 0" in rest) == (130, True)


def test_a_terminal_that_is_closed_sends_what_was_answered(
    recorder: Recorder, server: Server, unlabelled: list[str]
) -> None:
    with Terminal(server.address, "label", "acme/mood") as terminal:
        terminal.expect("[1/10]")
        terminal.answer("yes\n")
        terminal.expect("[2/10]")
        terminal.expect("> ")
        terminal.hang_up()
    assert labels(recorder, unlabelled[:2]) == ["yes", None]


def test_a_new_class_may_be_asked_for_again(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    run("label", "acme/mood", "--count", 1, answers=Typed("yess\na\nno\n\n"))
    assert labels(recorder, unlabelled[:1]) == ["no"]


def test_nobody_is_asked_about_a_new_class_twice(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    result = run("label", "acme/mood", "--count", 2, answers=Typed("perhaps\nc\nperhaps\n\n"))
    assert labels(recorder, unlabelled[:2]) == ["perhaps"] * 2
    assert result.stderr.count("new class") == 1


@pytest.mark.parametrize("answers", ["yess\n", "yess\nwhat\n"])
def test_input_that_ends_at_a_question_ends_the_session(
    run: Run, recorder: Recorder, unlabelled: list[str], answers: str
) -> None:
    result = run("label", "acme/mood", answers=Typed(f"yes\n{answers}"))
    assert result.exit_code == 0
    assert labels(recorder, unlabelled[:1]) == ["yes"]
    assert result.stderr.count("Enter: no") == 2


def test_a_head_without_classes_takes_new_ones_without_a_question(
    run: Run, recorder: Recorder, client: Client
) -> None:
    client.create_head("acme/mood", "minilm/l6-v2")
    client.add_examples("acme/mood", [("one", None), ("two", None)])
    result = run("label", "acme/mood", answers=Typed("cat\ndog\n\n"))
    assert labels(recorder, ["one", "two"]) == ["cat", "dog"]
    assert "new class 'cat'\n" in result.stderr


def test_a_pipe_is_told_about_a_new_class_and_not_asked(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    result = run("label", "acme/mood", answers="YES\nno\n")
    assert labels(recorder, unlabelled[:2]) == ["YES", "no"]
    assert "new class 'YES'; nearest: 'yes'\n" in result.stderr


def test_a_step_back_takes_an_answer_back_that_is_not_answered_again(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    result = run("label", "acme/mood", answers="yes\nno\nb\nb\nq\n")
    assert labels(recorder, unlabelled[:2]) == [None, None]
    assert (result.stdout, recorder.asked("UpdateExamples")) == ("labelled 0, skipped 0\n", [])


def test_a_step_back_takes_an_answer_back_that_was_sent(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    answers = "yes\n" * 10 + "b\n" * 3 + "no\ns\nq\n"
    result = run("label", "acme/mood", "--count", 12, answers=answers)
    expected = ["yes"] * 7 + ["no", None, None]
    assert labels(recorder, unlabelled[:10]) == expected
    assert "labelled 8 (yes 7, no 1), skipped 1" in result.stdout


def test_an_answer_that_was_sent_and_given_anew_can_be_taken_back_once_more(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    run("label", "acme/mood", "--count", 12, answers="yes\n" * 10 + "b\nno\nB\nq\n")
    assert labels(recorder, unlabelled[8:10]) == ["yes", None]


def test_the_last_answer_can_be_taken_back(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    run("label", "acme/mood", "--count", 1, answers=Typed("yes\nb\nno\n\n"))
    assert labels(recorder, unlabelled[:1]) == ["no"]


def test_before_the_first_input_there_is_nothing_to_take_back(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    result = run("label", "acme/mood", answers="b\nyes\nq\n")
    assert labels(recorder, unlabelled[:2]) == ["yes", None]
    assert "this is the first one" in result.stderr


def test_a_class_that_nobody_stands_by_is_no_longer_offered(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    result = run("label", "acme/mood", answers="perhaps\nb\n3\n2\nq\n")
    assert labels(recorder, unlabelled[:2]) == ["yes", None]
    assert "there is no label number 3" in result.stderr


def test_labels_that_are_letters_of_commands_win_and_a_colon_makes_commands(
    run: Run, recorder: Recorder, client: Client, tmp_path: Path
) -> None:
    table = tmp_path / "letters.csv"
    table.write_text("text,label\nun,b\ndeux,s\ntrois,q\nquatre,?\n")
    run("train", "acme/mood", table)
    texts = [f"text {number}" for number in range(6)]
    client.add_examples("acme/mood", [(text, None) for text in texts])
    answers = "b\ns\nq\n?\n:b\nq\n:S\n:?\n:q\n"
    result = run("label", "acme/mood", answers=answers)
    assert labels(recorder, texts) == ["b", "s", "q", "q", None, None]
    assert ":s: skip; :b: back; :q: quit; :?: all" in result.stderr
    assert "labelled 4 (q 2, b 1, s 1), skipped 1" in result.stdout


def test_an_equals_sign_makes_a_new_label_of_a_command_or_a_number(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    answers = "=S\nS\n=s\nS\ns\n:s\n=\n==\n=no\n=7\n"
    run("label", "acme/mood", "--count", 9, answers=answers)
    assert labels(recorder, unlabelled[:9]) == ["S", "S", "s", "S", "s", None, "=", "no", "7"]


def test_the_likeliest_classes_are_offered_and_all_are_listed_when_asked_for(
    run: Run, recorder: Recorder, client: Client, tmp_path: Path
) -> None:
    table = tmp_path / "letters.csv"
    table.write_text("text,label\n" + "".join(f"t{n},class {n:02}\n" for n in range(12)))
    run("train", "acme/mood", table)
    client.add_examples("acme/mood", [("one", None)])
    recorder.examples[HEAD][text_digest("one")] = None
    result = run("label", "acme/mood", answers="?\n12\n")
    assert "9: class 08 (2%), ?: 3 more\n" in result.stderr
    assert "9: class 08 (2%), 10: class 09, 11: class 10,\n12: class 11\n" in result.stderr
    assert labels(recorder, ["one"]) == ["class 11"]


def test_classes_come_in_the_order_of_their_probability_for_each_input(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    def guess_yes(request: Any, _: Any) -> None:
        recorder.heads[HEAD].labels[:] = ["yes", "no"]

    recorder.hooks["SuggestExamples"] = [guess_yes]
    result = run("label", "acme/mood", answers="2\nq\n")
    assert "Enter: yes (60%), 2: no (25%)" in result.stderr
    assert labels(recorder, unlabelled[:1]) == ["no"]


def test_answers_that_cannot_be_sent_are_named(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    recorder.hooks["UpdateExamples"] = [
        lambda _, context: refuse(context, "FAILED_PRECONDITION", "the head is gone")
    ]
    result = run("label", "acme/mood", answers="yes\nno\nq\n")
    assert result.exit_code == 1
    named = [line for line in result.stderr.splitlines() if line.startswith("not sent: ")]
    assert [line.rpartition(": ")[2] for line in named] == ["yes", "no"]
