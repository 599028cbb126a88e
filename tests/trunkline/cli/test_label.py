import errno
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.trunkline.cli.labelling import HEAD, labels
from tests.trunkline.recording import Recorder, refuse
from tests.trunkline.steps import Run, unavailable
from trunkline import Client
from trunkline.digest import image_digest, text_digest


def test_answers_are_guesses_numbers_labels_or_none(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    # Enter, a number, a label, a skip, a new label, the new label's number.
    answers = "\n2\nno\ns\nperhaps\n3\n"
    result = run("label", "acme/mood", "--count", 6, answers=answers)
    assert result.exit_code == 0, result.stderr
    expected = ["no", "yes", "no", None, "perhaps", "perhaps"]
    assert labels(recorder, unlabelled[:6]) == expected
    assert result.stdout == "labelled 5 (no 2, perhaps 2, yes 1), skipped 1\n"
    assert "Enter: no (60%), 2: yes (25%)\n" in result.stderr
    assert "new class 'perhaps'\n" in result.stderr


def test_a_label_typed_in_another_unicode_form_is_no_new_one(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    result = run("label", "acme/mood", answers="caf\u00e9\ncafe\u0301\nq\n")
    assert labels(recorder, unlabelled[:2]) == ["caf\u00e9"] * 2
    assert result.stderr.count("new class") == 1


def test_a_label_that_no_server_takes_is_asked_for_again(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    result = run("label", "acme/mood", "--count", 1, answers="oh\u200b\noh\n")
    assert result.exit_code == 0, result.stderr
    assert labels(recorder, unlabelled[:1]) == ["oh"]
    assert "U+200B, ZERO WIDTH SPACE" in result.stderr
    assert result.stderr.count("new class") == 1


@pytest.mark.parametrize("end", ["q\n", ""])
def test_what_was_answered_before_the_end_is_sent(
    run: Run, recorder: Recorder, unlabelled: list[str], end: str
) -> None:
    result = run("label", "acme/mood", answers=f"yes\nyes\n{end}")
    assert result.exit_code == 0
    assert labels(recorder, unlabelled[:3]) == ["yes", "yes", None]


def test_a_number_that_stands_for_no_label_is_asked_again(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    result = run("label", "acme/mood", "--count", 1, answers=f"9\n0\n{'9' * 5000}\n2\n")
    assert labels(recorder, unlabelled[:1]) == ["yes"]
    assert "there is no label number 9" in result.stderr


def test_a_line_that_is_no_text_is_reported_and_asked_for_again(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    answers = b"\n\nnewone\n2\n\xff\xfe\nyes\nQ\n"
    result = run("label", "acme/mood", "--count", 6, answers=answers)
    assert result.exit_code == 0, result.stderr
    assert labels(recorder, unlabelled[:6]) == ["no", "no", "newone", "yes", "yes", None]
    assert "an answer must be utf-8 text" in result.stderr


class Breaking(io.BytesIO):
    """Answers, and then the exception that ends the session."""

    def __init__(self, answers: bytes, end: BaseException) -> None:
        super().__init__(answers)
        self._end = end

    def readline(self, size: int | None = -1, /) -> bytes:
        if line := super().readline(size):
            return line
        raise self._end


@pytest.mark.parametrize(
    ("end", "status"), [(KeyboardInterrupt(), 130), (OSError(errno.EIO, "terminal gone"), 1)]
)
def test_what_was_answered_before_a_break_is_sent(
    run: Run, recorder: Recorder, unlabelled: list[str], end: BaseException, status: int
) -> None:
    result = run("label", "acme/mood", answers=Breaking(b"yes\nno\n", end))
    assert result.exit_code == status, result.stderr
    assert labels(recorder, unlabelled[:3]) == ["yes", "no", None]
    assert ("terminal gone" in result.stderr) == (status == 1)


def test_a_batch_that_was_refused_is_sent_once_more_at_the_end(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    recorder.hooks["UpdateExamples"] = [
        lambda _, context: refuse(context, "RESOURCE_EXHAUSTED", "too much at once")
    ]
    result = run("label", "acme/mood", "--count", 12, answers="yes\n" * 12)
    assert result.exit_code == 1
    assert labels(recorder, unlabelled[:11]) == ["yes"] * 10 + [None]
    assert "too much at once" in result.stderr


def test_upper_case_commands_are_commands_unless_they_are_labels(
    run: Run, recorder: Recorder, client: Client, unlabelled: list[str], tmp_path: Path
) -> None:
    run("label", "acme/mood", answers="yes\nS\nno\nQ\nyes\n")
    assert labels(recorder, unlabelled[:4]) == ["yes", None, "no", None]
    table = tmp_path / "letters.csv"
    table.write_text("text,label\nque,Q\nes,S\n")
    run("train", "acme/letters", table)
    client.add_examples("acme/letters", [("one", None), ("two", None), ("three", None)])
    run("label", "acme/letters", answers="Q\nS\nq\n")
    stored = recorder.examples["tenants/acme/heads/letters"]
    assert [stored[text_digest(text)] for text in ("one", "two", "three")] == ["Q", "S", None]


def test_labels_that_are_numbers_mean_themselves(
    run: Run, recorder: Recorder, client: Client, tmp_path: Path
) -> None:
    table = tmp_path / "digits.csv"
    table.write_text("text,label\nzero,0\none,1\n")
    run("train", "acme/mood", table)
    client.add_examples("acme/mood", [("eins", None), ("zwei", None)])
    result = run("label", "acme/mood", answers="1\n2\n")
    assert labels(recorder, ["eins", "zwei"]) == ["1", "2"]
    assert "Enter: 0 (60%), 1 (25%)" in result.stderr


def test_answers_are_sent_in_small_batches(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    run("label", "acme/mood", "--count", 12, answers="yes\n" * 12)
    assert [len(row.updates) for row in recorder.asked("UpdateExamples")] == [10, 2]


def test_count_and_strategy_are_passed_on(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    result = run(
        "label", "acme/mood", "--count", 2, "--strategy", "diverse", "--json", answers="yes\ns\n"
    )
    (request,) = recorder.asked("SuggestExamples")
    assert (request.count, request.strategy) == (2, "diverse")
    document = json.loads(result.stdout)
    assert (document["strategy"], document["skipped"]) == ("diverse", 1)
    (row,) = document["labelled"]
    assert (row["digest"], row["label"], row["predicted_label"]) == (
        text_digest("text 0"),
        "yes",
        "no",
    )
    assert document["version"] is None


def test_a_version_is_trained_at_the_end(run: Run, unlabelled: list[str]) -> None:
    result = run("label", "acme/mood", "--count", 1, "--train", answers="yes\n")
    assert "trained version 2, estimated accuracy 90.0%" in result.stdout
    nothing = run("label", "acme/mood", "--count", 1, "--train", answers="q\n")
    assert "trained" not in nothing.stdout


def test_a_version_that_does_not_answer_is_among_the_notices(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    recorder.inactive_reason = "it has no estimate"
    result = run("label", "acme/mood", "--count", 1, "--train", "--json", answers="yes\n")
    (notice,) = json.loads(result.stdout)["notices"]
    assert notice["reason"] == "version_inactive"
    assert notice["words"] in result.stderr


def test_a_folder_is_stored_without_labels_and_shown_by_name(
    run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        (tmp_path / f"{name}.png").write_bytes(name.encode())
    result = run("label", "acme/mood", tmp_path, answers="cat\n\ndog\n")
    assert result.exit_code == 0, result.stderr
    assert recorder.heads[HEAD].backbone == "efficientnet/lite0"
    stored = recorder.examples[HEAD]
    assert {stored[image_digest(name)] for name in (b"a", b"b")} == {"cat", "dog"}
    assert "no labels yet" in result.stderr
    assert f"[1/2] {tmp_path / 'a.png'}" in result.stderr


def test_inputs_that_the_head_has_keep_their_labels(
    run: Run, recorder: Recorder, unlabelled: list[str], tmp_path: Path
) -> None:
    table = tmp_path / "more.csv"
    table.write_text("text\ngood\ntext 1\nbrand new\n")
    recorder.requests.clear()
    run("label", "acme/mood", table, answers="q\n")
    (request,) = recorder.asked("AddExamples")
    assert [row.input.text for row in request.examples] == ["brand new"]
    assert labels(recorder, ["good", "brand new"]) == ["yes", None]


def test_a_text_that_is_kept_is_shown_and_others_by_their_digest(run: Run, client: Client) -> None:
    for head, keep in (("acme/kept", True), ("acme/not", False)):
        client.create_head(head, "minilm/l6-v2", keep_inputs=keep)
        client.add_examples(head, [("read me", None)])
    assert "[1/1] read me" in run("label", "acme/kept", answers="q\n").stderr
    shown = run("label", "acme/not", answers="q\n").stderr
    assert f"[1/1] text {text_digest('read me')[:16]}…" in shown


def test_nothing_to_label_is_said(run: Run, table: Path) -> None:
    run("train", "acme/mood", table)
    result = run("label", "acme/mood")
    assert result.exit_code == 0
    assert "nothing without a label is stored" in result.stderr


def test_an_input_that_cannot_be_stored_or_labelled_is_reported(
    run: Run, recorder: Recorder, unlabelled: list[str], tmp_path: Path
) -> None:
    table = tmp_path / "more.csv"
    table.write_text("text\nbroken\n")
    recorder.bad_digests.add(text_digest("broken"))
    assert run("label", "acme/mood", table, answers="q\n").exit_code == 1

    def forget(request: Any, _: Any) -> None:
        del recorder.examples[HEAD][request.updates[0].digest]

    recorder.hooks["UpdateExamples"] = [forget]
    result = run("label", "acme/mood", "--json", answers="yes\nyes\n")
    assert result.exit_code == 1
    assert len(json.loads(result.stdout)["labelled"]) == 1


def test_a_refusal_ends_the_session_with_one_line(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    recorder.hooks["UpdateExamples"] = [
        lambda _, context: refuse(context, "FAILED_PRECONDITION", "the head is gone")
    ]
    result = run("label", "acme/mood", answers="yes\nq\n")
    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1].startswith("error: the head is gone")


def test_labels_are_sent_again_after_an_interruption(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    recorder.hooks["UpdateExamples"] = [unavailable]
    assert run("label", "acme/mood", answers="yes\nq\n").exit_code == 0
    assert labels(recorder, unlabelled[:1]) == ["yes"]


def test_key_for_labelling_alone_is_shown_the_guess(
    run: Run, recorder: Recorder, unlabelled: list[str]
) -> None:
    def refused(request: Any, context: Any) -> None:
        refuse(context, "PERMISSION_DENIED", "the key needs the role predict")

    recorder.hooks["Predict"] = [refused]
    result = run("label", HEAD.removeprefix("tenants/").replace("/heads", ""), answers="\n")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == "labelled 1 (no 1), skipped 0\n"
    assert recorder.asked("Predict")


def test_path_that_is_not_there_is_told_before_any_question(run: Run, tmp_path: Path) -> None:
    result = run("label", "acme/mood", tmp_path / "none", answers="yes\n")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"error: {tmp_path / 'none'}: No such file or directory\n"
