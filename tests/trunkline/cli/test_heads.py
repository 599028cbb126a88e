"""Lists of heads and of versions, as a person sees them and as JSON."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.trunkline.recording import Recorder, Server
from tests.trunkline.steps import Run
from trunkline import Client
from trunkline.cli import main
from trunkline.values.estimates import Estimate
from trunkline.wording import age, short_accuracy

NOW = datetime(2025, 6, 1, tzinfo=UTC)


def long_ago(recorder: Recorder) -> None:
    """Every version is three days old."""
    then = datetime.now(UTC) - timedelta(days=3, hours=1)
    for head in recorder.heads.values():
        if head.HasField("active_version_time"):
            head.active_version_time.FromDatetime(then)
    for versions in recorder.versions.values():
        for version in versions:
            version.create_time.FromDatetime(then)


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


@pytest.fixture
def heads(run: Run, recorder: Recorder, table: Path) -> None:
    run("train", "acme/mood", table)
    run("train", "acme/mood", "--no-activate")
    run("heads", "create", "bolt/empty", "--backbone", "minilm/l6-v2", "--policy", "manual")
    run("heads", "create", "acme/other", "--backbone", "minilm/l6-v2")
    long_ago(recorder)


@pytest.mark.usefixtures("heads")
def test_heads_of_all_tenants_are_listed_with_what_they_are_worth(run: Run) -> None:
    header, mood, other, empty = words(run("heads", "list").stdout)
    assert " ".join(header) == "head backbone version, age accuracy examples feedback, policy"
    worth = ["1,", "3", "d", "90%", "(80-95)"]
    assert mood[:7] == ["acme/mood", "minilm/l6-v2", *worth]
    assert other[0] == "acme/other"
    assert empty == ["bolt/empty", "minilm/l6-v2", "-", "-", "0", "0,", "manual"]
    assert [row[0] for row in words(run("heads", "list", "bolt").stdout)] == ["head", "bolt/empty"]


@pytest.mark.usefixtures("heads")
def test_list_of_heads_is_whole_in_json(run: Run) -> None:
    mood, _, empty = json.loads(run("heads", "list", "--json").stdout)["heads"]
    assert mood["estimate"]["accuracy_high"] == pytest.approx(0.95)
    assert datetime.fromisoformat(mood["active_version_time"]).tzinfo is not None
    assert (mood["policy"], empty["policy"]) == ("gated", "manual")
    assert (empty["estimate"], empty["active_version_time"]) == (None, None)


@pytest.mark.usefixtures("heads")
def test_versions_are_listed_with_what_they_are_worth(run: Run) -> None:
    header, second, first = words(run("heads", "versions", "acme/mood").stdout)
    assert header == [
        "version",
        "active",
        "accuracy",
        "examples",
        "classes",
        "age",
        "source",
        "tail",
    ]
    worth = ["90%", "(80-95)", "4", "2", "3", "d", "training", "-"]
    assert (first, second) == (["1", "yes", *worth], ["2", "no", *worth])
    run("heads", "pin", "acme/mood", "1")
    assert words(run("heads", "versions", "acme/mood").stdout)[2][:2] == ["1,", "pinned"]
    rows = json.loads(run("heads", "versions", "acme/mood", "--json").stdout)["versions"]
    assert [row["estimate"]["accuracy"] for row in rows] == [0.9, 0.9]


@pytest.mark.usefixtures("heads")
@pytest.mark.parametrize("command", [["list"], ["versions", "acme/mood"]])
def test_lists_fit_a_terminal_of_80_columns(server: Server, command: list[str]) -> None:
    env = {"TRUNKLINE_SERVER": server.address, "COLUMNS": "80"}
    with Client(server.address) as client:
        client.update_head("bolt/empty", policy="immediate")
        client.pin_version("acme/mood", 1)
    shown = CliRunner(env=env).invoke(main, ["heads", *command]).stdout
    lines = shown.splitlines()
    assert len(lines) == 1 + (3 if command == ["list"] else 2), shown
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize(
    ("passed", "said"),
    [
        (timedelta(seconds=-5), "0 s"),
        (timedelta(seconds=59.9), "59 s"),
        (timedelta(minutes=59, seconds=59), "59 min"),
        (timedelta(hours=47, minutes=59), "47 h"),
        (timedelta(hours=48), "2 d"),
        (timedelta(days=400), "400 d"),
    ],
)
def test_age_is_said_in_its_largest_unit(passed: timedelta, said: str) -> None:
    assert age(NOW - passed, NOW) == said


def test_interval_of_an_accuracy_is_rounded_outwards() -> None:
    assert short_accuracy(Estimate("", 0.966, 0.951, 0.982, 0.1)) == "96.6% (95-99)"
    assert short_accuracy(Estimate("", 0.6, 0.29, 1.0, 0.1)) == "60% (29-100)"
    assert short_accuracy(Estimate("", 1.0, 0.9, 1.0, 0.1)) == "100% (90-100)"
    assert short_accuracy(None) == "-"
