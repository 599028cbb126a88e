"""`trunkline keys` and `whoami`."""

import json
import stat
from pathlib import Path

import pytest

from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run


def test_first_key_is_asked_about_and_needs_yes_without_a_terminal(
    run: Run, recorder: Recorder
) -> None:
    refused = run("keys", "create")
    assert refused.exit_code == 2
    assert "From now on every call needs one" in refused.stderr
    assert not recorder.asked("CreateKey")
    made = run("keys", "create", "--yes")
    assert made.stdout == "tlk_text_of_k1\n"
    assert "shown once" in made.stderr
    assert run("keys", "create").exit_code == 0


def test_key_can_go_to_a_file_that_only_its_owner_reads(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "operator.key"
    made = run("keys", "create", "--yes", "--output", path, "--json")
    assert "text" not in json.loads(made.stdout)
    assert path.read_text() == "tlk_text_of_k1\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_existing_file_is_kept_and_no_key_is_made(
    run: Run, recorder: Recorder, tmp_path: Path
) -> None:
    path = tmp_path / "operator.key"
    path.write_text("dear")
    assert run("keys", "create", "--yes", "--output", path).exit_code == 1
    assert path.read_text() == "dear"
    assert not recorder.asked("CreateKey")


def test_tenants_key_is_narrowed_rotated_and_revoked(run: Run, recorder: Recorder) -> None:
    run("keys", "create", "--yes")
    made = run(
        *("keys", "create", "--tenant", "acme", "--role", "predict", "--head", "x*"),
        *("--expires-in", "90d", "--note", "line 1", "--json"),
    )
    document = json.loads(made.stdout)
    assert (document["text"], document["key"]["heads"]) == ("tlk_text_of_k2", ["x*"])
    assert recorder.asked("CreateKey")[1].lifetime_seconds == 90 * 86_400
    rotated = run("keys", "rotate", "k2", "--overlap", "2h")
    assert rotated.stdout == "tlk_text_of_k3\n"
    assert "k2, is good until 2023-11-15 00:13:20 UTC" in rotated.stderr
    assert run("keys", "revoke", "k2").exit_code == 2
    assert run("keys", "revoke", "k2", "--yes").stdout == "revoked k2\n"
    listed = run("keys", "list", "--tenant", "acme").stdout
    assert "revoked" in listed
    assert "k1" not in listed
    assert "line 1" in run("keys", "show", "k3").stdout
    assert json.loads(run("keys", "list", "--json").stdout)["keys"][1]["tenant"] == "tenants/acme"


@pytest.mark.parametrize(
    "options",
    [("--expires-in", "0d"), ("--expires-in", "soon"), ("--tenant", "a b"), ("--role", "operate")],
)
def test_option_that_makes_no_sense_is_refused(
    run: Run, recorder: Recorder, options: tuple[str, str]
) -> None:
    assert run("keys", "create", "--yes", *options).exit_code == 2
    assert not recorder.asked("CreateKey")


def test_caller_is_told_whose_key_it_shows(run: Run) -> None:
    assert "no key is asked for" in run("whoami").stdout
    run("keys", "create", "--yes", "--note", "the keeper")
    assert "the keeper" in run("whoami").stdout
    assert json.loads(run("whoami", "--json").stdout)["keys_required"] is True
