"""With `--json` standard output has one JSON document, an error's where there is no result."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.trunkline.recording import Recorder, Server, refuse
from tests.trunkline.steps import Run, trained, unavailable
from trunkline import Client
from trunkline.digest import text_digest
from trunkline.rows.chunking import MAX_MESSAGE_ROWS


def error_of(stdout: str) -> dict[str, Any]:
    (line,) = stdout.splitlines()
    document = json.loads(line)
    assert set(document) == {"error"}
    error: dict[str, Any] = document["error"]
    return error


def test_refusal_of_the_server_is_a_document_with_all_that_is_known(
    run: Run, recorder: Recorder
) -> None:
    def full(_: Any, context: grpc.ServicerContext) -> None:
        refuse(
            context,
            "RESOURCE_EXHAUSTED",
            "too many heads",
            field="heads",
            limit="5",
            value="6",
            retry_seconds=2.5,
        )

    recorder.hooks["DeleteHead"] = [full]
    result = run("--timeout", 1, "heads", "delete", "acme/mood", "--yes", "--json")
    assert result.exit_code == 1
    assert error_of(result.stdout) == {
        "code": "RESOURCE_EXHAUSTED",
        "message": "too many heads",
        "reason": "TESTED",
        "field": "heads",
        "limit": "5",
        "value": "6",
        "request_id": "req-1",
        "retry_after": 2.5,
    }
    assert result.stderr.startswith("error: too many heads (field heads, ")


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        (["heads", "show", "acme", "--json"], "head"),
        (["heads", "versions", "--json"], "head"),
        (["backbones", "--json", "--timeout", "x"], "--timeout"),
        (["--bogus", "backbones", "--json"], "--bogus"),
        (["predict", "acme/mood", "--json"], None),
        (["nonsense", "--json"], None),
        (["heads", "delete", "acme/mood", "--json"], None),
    ],
)
def test_mistake_of_usage_is_a_document_and_exits_2(
    run: Run, arguments: Sequence[str], field: str | None
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    error = error_of(result.stdout)
    assert error["code"] == "INVALID_ARGUMENT"
    assert error.get("field") == field
    assert error["message"] in result.stderr


def test_without_json_nothing_is_on_standard_output(run: Run) -> None:
    for arguments in (["heads", "show", "acme"], ["heads", "show", "acme/none"]):
        assert run(*arguments).stdout == ""


def test_word_json_after_two_dashes_is_no_option(run: Run) -> None:
    assert run("predict", "acme/none", "--top", "x", "--", "--json").stdout == ""


def test_what_the_client_finds_wrong_itself_is_a_document(
    run: Run, client: Client, tmp_path: Path
) -> None:
    trained(client)
    missing = tmp_path / "none.safetensors"
    imported = run("heads", "import", "acme/x", missing, "--backbone", "b/c", "--json")
    error = error_of(imported.stdout)
    assert (error["code"], error["value"]) == ("NOT_FOUND", str(missing))
    assert imported.stderr == f"error: {missing}: No such file or directory\n"
    exported = run("heads", "export", "acme/mood", "--tail", tmp_path / "t", "--json")
    assert error_of(exported.stdout)["code"] == "FAILED_PRECONDITION"
    short = error_of(run("examples", "show", "acme/mood", "0" * 8, "--json").stdout)
    assert short["code"] == "NOT_FOUND"
    unread = run("feedback", "acme/mood", tmp_path / "none.png", "yes", "--json")
    assert error_of(unread.stdout)["code"] == "NOT_FOUND"
    address = error_of(run("--server", "http://x.invalid:1", "backbones", "--json").stdout)
    assert (address["field"], address["value"]) == ("server", "http://x.invalid:1")


def test_predictions_end_with_the_error_where_the_connection_breaks(
    run: Run, client: Client, recorder: Recorder, tmp_path: Path
) -> None:
    trained(client)
    table = tmp_path / "many.csv"
    count = 2 * MAX_MESSAGE_ROWS
    table.write_text("text\n" + "".join(f"text {row}\n" for row in range(count)))
    recorder.hooks["Predict"] = [lambda *_: None, *[unavailable] * 50]
    result = run("--timeout", 0.5, "predict", "acme/mood", table, "--json")
    assert result.exit_code == 1
    *rows, last = result.stdout.splitlines()
    assert 0 < len(rows) < count
    assert all("label" in json.loads(row) for row in rows)
    assert error_of(last) == {"code": "UNAVAILABLE", "message": "going down"}


def test_full_disk_is_told_on_standard_error_alone(server: Server) -> None:
    command = [sys.executable, "-m", "trunkline", "--server", server.address]
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [*command, "backbones", "--json"], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[0].endswith("No space left on device")
    assert "Traceback" not in ended.stderr


def test_command_that_was_done_in_part_prints_its_own_document_alone(
    run: Run, client: Client
) -> None:
    trained(client)
    known, unknown = text_digest("good"), "0" * 64
    result = run("examples", "relabel", "acme/mood", "no", known, unknown, "--json")
    assert result.exit_code == 1
    assert "error" not in json.loads(result.stdout)
    assert json.loads(result.stdout)["changed"] == 1


def test_no_server_is_a_document(run: Run, server: Server) -> None:
    server.stop()
    result = run("--timeout", 0.3, "backbones", "--json")
    assert error_of(result.stdout)["code"] == "UNAVAILABLE"
    assert "`trunkline serve`" in error_of(result.stdout)["message"]
