import json
from pathlib import Path

from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run
from trunkline.digest import text_digest


def test_the_command_prints_a_table_and_then_words(run: Run, table: Path) -> None:
    result = run("advise", table)
    assert result.exit_code == 0, result.stderr
    words = result.stdout
    lines = words.splitlines()
    assert lines[0].split()[:4] == ["option", "accuracy", "log-loss", "LogME"]
    assert lines[1].startswith("direct")
    assert "90.0% (85.0% to 95.0%)" in lines[1]
    assert "Transfer does not help." in words
    assert "- Direct training is ahead." in words
    assert "Fine-tuning is likely to pay. The frozen features" in words
    assert "out of sight" in words
    assert "nearly the same: 12 pairs, 1 of them" in words
    assert "- good (" in words  # one pair a point: two long names fit no table
    assert "compared" in result.stderr
    assert "4 examples" in result.stderr


def test_the_command_passes_its_options_on(run: Run, recorder: Recorder, table: Path) -> None:
    options = ["--tenant", "zoo", "--backbone", "a/b", "--backbone", "c/d", "--seed", 3]
    assert run("advise", table, *options).exit_code == 0
    first = recorder.asked("Advise")[0]
    assert (first.parent, list(first.backbones), first.seed) == ("tenants/zoo", ["a/b", "c/d"], 3)


def test_json_is_one_document(run: Run, table: Path) -> None:
    document = json.loads(run("advise", table, "--json").stdout)
    assert (document["verdict"], document["recommended"]) == ("direct", "direct")
    assert document["labels_needed"][1] == {"accuracy": 0.98, "examples": None}


def test_a_failed_row_is_named_and_the_rest_advised_on(
    run: Run, recorder: Recorder, table: Path
) -> None:
    recorder.bad_digests.add(text_digest("bad"))
    result = run("advise", table)
    assert result.exit_code == 1
    assert f"failed: {table}:4: cannot be decoded" in result.stderr
    assert "Transfer does not help." in result.stdout


def test_of_an_input_that_occurs_again_the_last_row_is_advised_on(
    run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    table = tmp_path / "t.csv"
    table.write_text("text,label\na,x\nb,y\na,y\nbad,x\nc,x\nc,x\n")
    recorder.bad_digests.add(text_digest("bad"))
    result = run("advise", table, "--json")
    sent = [row for request in recorder.asked("Advise") for row in request.examples]
    assert [(row.input.text, row.label) for row in sent] == [
        ("b", "y"),
        ("a", "y"),
        ("bad", "x"),
        ("c", "x"),
    ]
    (failure,) = json.loads(result.stdout)["failures"]
    assert failure["name"] == f"{table}:5"


def test_what_cannot_be_asked_is_a_usage_error(run: Run, table: Path, tmp_path: Path) -> None:
    assert run("advise", table, "--tenant", "no/such").exit_code == 2
    empty = tmp_path / "empty.csv"
    empty.write_text("text,label\n")
    result = run("advise", empty)
    assert (result.exit_code, "no examples" in result.stderr) == (1, True)
