"""`trunkline heads pin`, `unpin` and `delete-version`, and versions that had to go."""

import json
from pathlib import Path

from tests.trunkline.recording import Recorder
from tests.trunkline.steps import Run, trained
from trunkline import Client


def test_version_is_pinned_listed_and_let_go(run: Run, client: Client) -> None:
    trained(client)
    assert run("heads", "pin", "acme/mood", "1").stdout == "pinned version 1 of acme/mood\n"
    (listed,) = json.loads(run("heads", "versions", "acme/mood", "--json").stdout)["versions"]
    assert listed["pinned"] is True
    assert run("heads", "unpin", "acme/mood", "1").exit_code == 0
    assert not client.get_version("acme/mood", 1).pinned


def test_version_is_deleted_once_it_is_meant(run: Run, client: Client, recorder: Recorder) -> None:
    trained(client)
    client.train("acme/mood")
    assert run("heads", "delete-version", "acme/mood", "1").exit_code == 2
    assert not recorder.asked("DeleteHeadVersion")
    deleted = run("heads", "delete-version", "acme/mood", "1", "--yes")
    assert deleted.stdout == "deleted version 1 of acme/mood\n"
    refused = run("heads", "delete-version", "acme/mood", "2", "--yes")
    assert refused.exit_code == 1
    assert "it is the active one" in refused.stderr


def test_versions_that_had_to_go_are_named(
    run: Run, client: Client, recorder: Recorder, tmp_path: Path
) -> None:
    trained(client)
    recorder.removed_versions = [3, 4]
    weights = tmp_path / "head.safetensors"
    weights.write_bytes(b"weights")
    imported = ("heads", "import", "acme/mood", weights, "--backbone", "minilm/l6-v2")
    client.feedback("acme/mood", [("good", "yes")])
    for command in (
        ("train", "acme/mood"),
        (*imported, "--labels", "no,yes", "--fingerprint", "ab"),
        ("classes", "rename", "acme/mood", "yes", "fine"),
        ("heads", "promote", "acme/mood"),
    ):
        said = run(*command)
        assert said.exit_code == 0, said.stderr
        assert "2 older versions are gone" in said.stderr
        assert "bounded number of each head: 3, 4\n" in said.stderr
