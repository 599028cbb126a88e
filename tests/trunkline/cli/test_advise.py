import json
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

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
    assert result.stderr == "", "what is progress alone stays out of logs"


def test_the_command_passes_its_options_on(run: Run, recorder: Recorder, table: Path) -> None:
    options = ["--tenant", "zoo", "--backbone", "a/b", "--backbone", "c/d", "--seed", 3]
    assert run("advise", table, *options).exit_code == 0
    first = recorder.asked("Advise")[0]
    assert (first.parent, list(first.backbones), first.seed) == ("tenants/zoo", ["a/b", "c/d"], 3)


def test_json_is_one_document(run: Run, table: Path) -> None:
    document = json.loads(run("advise", table, "--json").stdout)
    assert (document["verdict"], document["recommended"]) == ("direct", "direct")
    assert document["labels_needed"][1] == {"accuracy": 0.98, "examples": None}


def test_direct_training_comes_with_lines_that_read_the_same_data(
    run: Run, table: Path, tmp_path: Path
) -> None:
    table.write_text("Words\tMood\ngood\tyes\nbad\tno\n", encoding="utf-8")
    columns = ("--text-column", "words", "--label-column", "mood")
    page = tmp_path / "advice.html"
    printed = run("advise", table, *columns, "--html", page).stdout
    words, _, code = printed.partition("\n\nfrom pathlib import Path\n")
    assert "is 20.0 points (14.0 to 26.0, 95 %) behind it." in " ".join(words.split())
    code = f"from pathlib import Path\n{code}"
    document = json.loads(run("advise", table, *columns, "--json").stdout)
    assert document["direct_code"].rstrip() == code.rstrip()
    assert document["head_lead"]["gain"] == -0.2
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path.parent, capture_output=True, check=True
    )
    assert ran.stdout.split() == b"[('no', 'bad'), ('yes', 'good')]".split()
    shown = ElementTree.parse(page).getroot().find(".//pre/code")
    assert shown is not None
    assert shown.text == code.rstrip()


def test_lines_pass_over_what_cannot_be_read(run: Run, tmp_path: Path) -> None:
    table = tmp_path / "rows.jsonl"
    table.write_text(
        '{"text": "a", "label": "x"}\n{"text": 1, "label": "y"}\n{"text": "b", "label": "y"}\n'
    )
    code = json.loads(run("advise", table, "--json").stdout)["direct_code"]
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert ran.stdout.strip() == "[('x', 'a'), ('y', 'b')]"


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
