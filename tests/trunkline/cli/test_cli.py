import json
import math
import subprocess
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import grpc
import pytest
from click.testing import CliRunner

from tests.terminal import Terminal
from tests.trunkline.recording import Recorder, Server, refuse
from tests.trunkline.steps import Run
from trunkline.cli import main
from trunkline.cli.output import failure_words, plain
from trunkline.digest import text_digest
from trunkline.values.outcomes import RowFailure
from trunkline.version import __version__

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


def commands(group: click.Group, prefix: str = "") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield prefix + name, command
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix}{name} ")


COMMANDS = dict(commands(main))
PASSED_ON = {
    "serve": "service.serve",
    "extractor": "service.extract",
    "config": "service.config.effective",
    "demo": "service.demo",
}
"""Commands whose arguments are the server's to read, and the module that does."""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_has_help(name: str) -> None:
    assert COMMANDS[name].help
    options = [row for row in COMMANDS[name].params if isinstance(row, click.Option)]
    assert all(option.help for option in options)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_is_documented(name: str) -> None:
    text = DOCS.read_text()
    assert f"trunkline {name}" in text
    for option in COMMANDS[name].params:
        if isinstance(option, click.Option):
            words = [*option.opts, *option.secondary_opts]
            assert all(f"`{word}" in text for word in words if word.startswith("--"))


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(PASSED_ON)))
def test_every_command_of_the_client_speaks_json(name: str) -> None:
    command = COMMANDS[name]
    if not isinstance(command, click.Group):
        assert "as_json" in {param.name for param in command.params}


def test_the_version_is_printed(run: Run) -> None:
    assert run("--version").stdout == f"trunkline, version {__version__}\n"


def test_train_makes_the_head_uploads_trains_and_measures(
    run: Run, recorder: Recorder, table: Path, tmp_path: Path
) -> None:
    test = tmp_path / "test.jsonl"
    test.write_text('{"text": "lovely", "label": "yes"}\n{"text": "grim", "label": "yes"}\n')
    result = run("train", "acme/mood", table, "--test", test, "--seed", 3, "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["version"] == 1
    assert document["report"]["estimate"]["accuracy"] == 0.9
    assert document["upload"]["added"] == 4
    assert document["test"] == {"rows": 2, "left_out": 0, "failed": 0, "accuracy": 1.0}
    head = recorder.heads["tenants/acme/heads/mood"]
    assert (head.backbone, head.spec.seed) == ("minilm/l6-v2", 3)
    again = run("train", "acme/mood", table)
    assert again.exit_code == 0
    assert "4 known already" in again.stderr
    assert "90.0%" in again.stdout
    assert not recorder.asked("TrainHead")[1].HasField("spec")


def test_train_tells_what_it_changes_by_reason_and_names_it(
    run: Run, recorder: Recorder, table: Path
) -> None:
    run("train", "acme/mood", table)
    recorder.corrections[text_digest("good")] = "no"
    lines = ["fine,no", *(f"text {row},yes" for row in range(4)), "bad,no", "awful,yes"]
    table.write_text(table.read_text() + "\n".join(lines))
    shown = run("train", "acme/mood", table)
    assert shown.exit_code == 0, shown.stderr
    words = ("came before", "more than one label", "corrected by feedback")
    assert [line for line in shown.stderr.splitlines() if any(map(line.__contains__, words))] == [
        "1 row with an input that came before: bad",
        "2 inputs under more than one label, of which the last wins: fine (yes, then no), "
        "awful (no, then yes)",
        "1 label corrected by feedback since its upload stays so; --overwrite replaces it: "
        f"{table}:2 (yes -> no)",
    ]
    overwritten = run("train", "acme/mood", table, "--overwrite", "--json")
    document = json.loads(overwritten.stdout)
    told = {row["reason"]: row for row in document["notices"]}
    assert {reason: row["count"] for reason, row in told.items()} == {
        "row_repeated": 1,
        "row_contradicted": 2,
        "correction_replaced": 1,
    }
    assert told["correction_replaced"]["names"] == [f"{table}:2 (no -> yes)"]
    assert document["upload"]["change_counts"]["row_contradicted"] == 2
    assert all(request.overwrite for request in recorder.asked("AddExamples")[-2:])


def test_test_label_in_another_unicode_form_is_right(run: Run, tmp_path: Path) -> None:
    table, test = tmp_path / "drinks.csv", tmp_path / "test.csv"
    table.write_text("text,label\nespresso,caf\u00e9\nmocha,cafe\u0301\nassam,tea\nsencha,tea\n")
    test.write_text("text,label\nlatte,cafe\u0301\noolong,tea\n")
    result = run("train", "acme/drinks", table, "--test", test, "--json")
    assert json.loads(result.stdout)["test"]["accuracy"] == 1.0


def test_train_without_a_path_trains_on_what_is_stored(
    run: Run, recorder: Recorder, table: Path
) -> None:
    assert run("train", "acme/mood", table).exit_code == 0
    sent = len(recorder.asked("AddExamples"))
    result = run("train", "acme/mood", "--family", "ridge", "--json")
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["version"], document["upload"], document["test"]) == (2, None, None)
    assert len(recorder.asked("AddExamples")) == sent
    assert recorder.asked("TrainHead")[-1].spec.family == "ridge"


def test_train_without_a_path_needs_a_head_and_nothing_that_reads_a_path(run: Run) -> None:
    assert run("train", "acme/none").exit_code == 1
    for option in (["--prune"], ["--overwrite"], ["--test", "x"]):
        assert run("train", "acme/none", *option).exit_code == 2


def test_train_takes_the_backbone_of_the_datas_modality(
    run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / "1.png").write_bytes(label.encode())
    assert run("train", "acme/shapes", tmp_path, "--no-activate", "--keep-inputs").exit_code == 0
    head = recorder.heads["tenants/acme/heads/shapes"]
    assert (head.backbone, head.keep_inputs) == ("efficientnet/lite0", True)
    assert head.active_version == 0


def test_train_tells_that_the_version_before_still_answers(
    run: Run, recorder: Recorder, table: Path
) -> None:
    run("train", "acme/mood", table)
    recorder.inactive_reason = "it has no estimate"
    told = run("train", "acme/mood", table)
    assert "version 2 does not answer: it has no estimate" in told.stderr
    assert recorder.heads["tenants/acme/heads/mood"].active_version == 1
    assert "does not answer" not in run("train", "acme/mood", table, "--activate").stderr
    assert recorder.heads["tenants/acme/heads/mood"].active_version == 3


def test_train_reports_on_the_version_it_made_whichever_answers(
    run: Run, recorder: Recorder, table: Path, tmp_path: Path
) -> None:
    run("train", "acme/mood", table)
    test = tmp_path / "test.csv"
    test.write_text("text,label\nlovely,yes\n")
    result = run("train", "acme/mood", table, "--no-activate", "--test", test, "--json")
    assert json.loads(result.stdout)["version"] == 2
    assert {request.version for request in recorder.asked("Predict")} == {2}
    assert recorder.heads["tenants/acme/heads/mood"].active_version == 1


def test_train_with_a_failed_row_trains_on_the_others_and_exits_1(
    run: Run, recorder: Recorder, table: Path
) -> None:
    recorder.bad_digests.add(text_digest("fine"))
    result = run("train", "acme/mood", table, "--json")
    assert result.exit_code == 1
    document = json.loads(result.stdout)
    assert (document["version"], document["upload"]["failed"]) == (1, 1)
    assert f"failed: {table}:3: cannot be decoded" in result.stderr


def test_train_refuses_another_backbone_than_the_heads_own(run: Run, table: Path) -> None:
    run("train", "acme/mood", table)
    result = run("train", "acme/mood", table, "--backbone", "other/one")
    assert result.exit_code == 1
    assert "limit minilm/l6-v2, value other/one" in result.stderr


def test_predict_prints_one_json_line_a_row_in_order(
    run: Run, recorder: Recorder, table: Path, tmp_path: Path
) -> None:
    run("train", "acme/mood", table)
    recorder.bad_digests.add(text_digest("broken"))
    missing = tmp_path / "none.png"
    result = run("predict", "acme/mood", missing, table, "--text", "broken", "--json", "--top", 1)
    assert result.exit_code == 1
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    assert rows[0]["path"] == str(missing)
    assert rows[0]["error"]["code"] == "NOT_FOUND"
    assert [row.get("label") for row in rows] == [None, "yes", "yes", "no", "no", None]
    assert rows[1]["text"] == "good"
    assert rows[1]["scores"] == {"yes": 0.75}
    assert (rows[1]["probability"], rows[1]["version"]) == (0.75, 1)
    assert rows[5]["error"]["message"] == "cannot be decoded"


def test_a_row_that_fails_before_good_ones_still_makes_the_command_fail(
    run: Run, recorder: Recorder, table: Path
) -> None:
    run("train", "acme/mood", table)
    recorder.bad_digests.add(text_digest("broken"))
    result = run("predict", "acme/mood", "--text", "broken", "--text", "good")
    assert result.stdout.splitlines()[1] == "good\tyes\t0.7500"
    assert result.exit_code == 1


def test_predict_prints_a_line_a_row_for_a_person(run: Run, table: Path) -> None:
    run("train", "acme/mood", table)
    result = run("predict", "acme/mood", "--text", "bad\nnews", "--text", "bad")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == ["bad news\tno\t0.7500", "bad\tno\t0.7500"]


def test_feedback_is_stored(run: Run, recorder: Recorder, table: Path, tmp_path: Path) -> None:
    run("train", "acme/mood", table)
    result = run("feedback", "acme/mood", "--text", "bad", "yes", "--json")
    assert json.loads(result.stdout)["receipt"]["digest"] == text_digest("bad")
    image = tmp_path / "a.png"
    image.write_bytes(b"image")
    assert run("feedback", "acme/mood", image, "no").exit_code == 0
    labels = [request.feedback[0].label for request in recorder.asked("SendFeedback")]
    assert labels == ["yes", "no"]
    missing = run("feedback", "acme/mood", tmp_path / "none.png", "no")
    assert missing.exit_code == 1
    assert missing.stderr.startswith(f"error: {tmp_path / 'none.png'}: cannot read the file")
    assert "PATH comes before LABEL" not in missing.stderr
    assert "PATH comes before LABEL" in run("feedback", "acme/mood", "no", image).stderr


def test_heads_are_made_shown_listed_switched_and_deleted(run: Run, table: Path) -> None:
    made = run("heads", "create", "acme/mood", "--backbone", "minilm/l6-v2", "--l2", 0.5, "--json")
    spec = json.loads(made.stdout)["spec"]
    assert (spec["family"], spec["seed"], spec["l2"]) == ("auto", 0, 0.5)
    run("train", "acme/mood", table)
    run("train", "acme/mood", table)
    shown = json.loads(run("heads", "show", "acme/mood", "--json").stdout)
    assert shown["active_version"] == 2
    listed = json.loads(run("heads", "list", "acme", "--json").stdout)
    assert [row["name"] for row in listed["heads"]] == ["tenants/acme/heads/mood"]
    versions = json.loads(run("heads", "versions", "acme/mood", "--json").stdout)["versions"]
    assert [row["version"] for row in versions] == [2, 1]
    activated = run("heads", "activate", "acme/mood", 1, "--json")
    assert json.loads(activated.stdout)["active_version"] == 1
    deleted = run("heads", "delete", "acme/mood", "--yes", "--json")
    assert json.loads(deleted.stdout) == {"deleted": "acme/mood"}
    assert run("heads", "show", "acme/mood").exit_code == 1


def test_heads_are_exported_and_imported(
    run: Run, recorder: Recorder, table: Path, tmp_path: Path
) -> None:
    run("train", "acme/mood", table)
    file = tmp_path / "mood.safetensors"
    exported = run("heads", "export", "acme/mood", file, "--json")
    assert json.loads(exported.stdout)["version"]["version"] == 1
    assert file.read_bytes() == b"weights"
    arguments = ["acme/copy", file, "--backbone", "minilm/l6-v2", "--labels", "no,yes"]
    imported = run("heads", "import", *arguments, "--json")
    assert json.loads(imported.stdout)["labels"] == ["no", "yes"]
    assert recorder.asked("ImportHead")[0].safetensors == b"weights"


def test_words_and_tables_are_for_a_person(run: Run, table: Path) -> None:
    run("train", "acme/mood", table)
    assert "efficientnet/lite0" in run("backbones").stdout
    assert "tenants/acme/heads/mood" in run("heads", "show", "acme/mood").stdout
    assert "mood" in run("heads", "list", "acme").stdout
    assert "training" in run("heads", "versions", "acme/mood").stdout


def test_bars_are_for_terminals_and_words_for_logs(server: Server, run: Run, table: Path) -> None:
    train = ["train", "acme/mood", table]
    logged = run(*train).stderr
    assert "4 examples: 0 known already" in logged
    assert "━" not in logged
    with Terminal(server.address, *train, stdout=subprocess.DEVNULL) as terminal:
        assert "uploading ━" in click.unstyle(terminal.end()[1])


def test_documents_stand_alone_on_standard_output(run: Run, table: Path) -> None:
    run("train", "acme/mood", table)
    assert len(json.loads(run("backbones", "--json").stdout)["backbones"]) == 2
    report = json.loads(run("report", "acme/mood", "--version", 1, "--json").stdout)
    assert report["candidates"][0]["chosen"] is True


def test_an_error_is_one_line_with_all_that_is_known(run: Run, recorder: Recorder) -> None:
    def too_large(_: Any, context: grpc.ServicerContext) -> None:
        refuse(
            context, "RESOURCE_EXHAUSTED", "too many\nheads", field="heads", limit="5", value="6"
        )

    recorder.hooks["ListHeads"] = [too_large]
    result = run("heads", "list", "acme")
    assert result.exit_code == 1
    assert result.stdout == ""
    expected = "error: too many heads (field heads, limit 5, value 6, request req-1)\n"
    assert result.stderr == expected


def test_nothing_that_a_server_says_moves_the_cursor_or_turns_the_writing(
    run: Run, recorder: Recorder, table: Path
) -> None:
    run("train", "acme/mood", table)
    hostile = "\x1b[2J\u202egnp\x00\x9b1m\u2066"
    for version in recorder.versions["tenants/acme/heads/mood"]:
        version.source = hostile
    shown = run("heads", "versions", "acme/mood").stdout
    assert "gnp" in shown

    def refused(_: Any, context: grpc.ServicerContext) -> None:
        refuse(context, "INVALID_ARGUMENT", hostile, field=hostile, limit=hostile, value=hostile)

    recorder.hooks["ListHeads"] = [refused]
    said = run("heads", "list", "acme").stderr
    assert "gnp" in said
    for character in hostile.replace("gnp", "").replace("[2J", "").replace("1m", ""):
        assert character not in shown + said
    documents = run("heads", "versions", "acme/mood", "--json").stdout
    assert json.loads(documents)["versions"][0]["source"] == hostile
    assert documents.isascii()


def test_json_has_no_number_that_json_does_not_know() -> None:
    assert plain({"a": [math.nan, -math.inf], "b": 1.5}) == {"a": [None, None], "b": 1.5}


def test_no_server_is_an_error_and_no_traceback(server: Server) -> None:
    server.stop()
    arguments = ["--timeout", "0.3", "backbones", "--server", server.address]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert "Traceback" not in result.stderr
    assert result.stderr.splitlines()[-1].startswith("error: ")


def test_the_server_may_be_named_before_or_after_the_command(server: Server) -> None:
    runner = CliRunner(env={"TRUNKLINE_SERVER": "127.0.0.1:1"})
    assert runner.invoke(main, ["--server", server.address, "backbones"]).exit_code == 0
    assert runner.invoke(main, ["backbones", "--server", server.address]).exit_code == 0


def test_options_after_the_command_win_over_those_before_it(run: Run, recorder: Recorder) -> None:
    left: list[float] = []

    def note(_: Any, context: grpc.ServicerContext) -> None:
        left.append(context.time_remaining())

    recorder.hooks["ListBackbones"] = [note, note]
    early, late = ("--token", "early", "--timeout", 900), ("--token", "late", "--timeout", 90)
    assert run(*early, "backbones").exit_code == 0
    assert run(*early, "backbones", *late).exit_code == 0
    assert [row["authorization"] for row in recorder.metadata] == ["Bearer early", "Bearer late"]
    first, second = left
    assert 90 < first < 901
    assert second < 91


@pytest.mark.parametrize(
    "arguments",
    [
        ["predict", "acme/mood"],
        ["predict", "acme", "--text", "x"],
        ["heads", "list", "a b"],
        ["feedback", "acme/mood", "only.png"],
        ["train"],
        ["train", "acme/mood", "x", "--fine-tune", "all"],
        ["nonsense"],
    ],
)
def test_usage_errors_exit_2(run: Run, arguments: list[str]) -> None:
    assert run(*arguments).exit_code == 2


def test_path_in_the_place_of_the_head_is_told(run: Run, table: Path) -> None:
    told = run("train", table, "acme/mood").stderr
    assert "a file or folder; TENANT/HEAD comes first" in told
    assert "comes first" not in run("train", "none", "acme/mood").stderr


def test_a_dataset_with_a_mistake_is_reported_before_anything_is_sent(
    run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    (tmp_path / "t.csv").write_text("text\nx\n")
    result = run("train", "acme/mood", tmp_path / "t.csv")
    assert result.exit_code == 1
    assert "t.csv:1:" in result.stderr
    assert recorder.requests == []


@pytest.mark.parametrize("name", sorted(PASSED_ON))
def test_the_servers_commands_get_their_arguments_untouched(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    seen: list[list[str]] = []

    def entry(arguments: list[str]) -> int:
        seen.append(arguments)
        return 7

    module = types.ModuleType(PASSED_ON[name])
    setattr(module, f"{name}_main", entry)
    monkeypatch.setattr(module, "serve_main", entry, raising=False)
    monkeypatch.setitem(sys.modules, "service", types.ModuleType("service"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    result = run(name, "--help", "--data-dir", "x", "--backbone=y", "-v")
    assert result.exit_code == 7
    assert seen == [["--help", "--data-dir", "x", "--backbone=y", "-v"]]


def test_without_a_checkout_serve_says_what_to_do(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'service'", name="service")

    monkeypatch.setitem(sys.modules, "service", None)
    monkeypatch.setitem(sys.modules, "service.serve", None)
    result = run("serve")
    assert result.exit_code == 1
    assert "checkout" in result.stderr


def test_limit_and_value_of_a_failed_row_are_said_once() -> None:
    words = "image.format: is of no known format (limit: JPEG, PNG, value: starts with 72)"
    failure = RowFailure(
        0, "INVALID_ARGUMENT", words, "image.format", "JPEG, PNG", "starts with 72"
    )
    assert failure_words(failure) == words
    plain = replace(failure, message="is no image")
    assert failure_words(plain).startswith("is no image (field image.format, limit JPEG, PNG, ")
