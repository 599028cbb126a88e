"""What a server would run with, as the command line says it, and what it says first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.processes import END_SECONDS, ROOT


def trunkline(*args: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TRUNKLINE_")}
    return subprocess.run(
        [sys.executable, "-m", "trunkline", *map(str, args)],
        cwd=ROOT,
        env={**kept, **environment},
        capture_output=True,
        text=True,
        timeout=END_SECONDS,
    )


def test_config_says_where_each_setting_comes_from(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('threads = 3\nrest_port = 1\nlog_level = "debug"\n')
    given = ("config", "--config", file, "--rest-port", "3", "--no-insecure")
    variables = {
        "TRUNKLINE_REST_PORT": "2",
        "TRUNKLINE_LOG_LEVEL": "error",
        "TRUNKLINE_GRPC_PROT": "7",
        "TRUNKLINE_PORT": "tcp://10.0.0.1:3000",
    }
    ended = trunkline(*given, "--json", **variables)
    assert ended.returncode == 0, ended.stderr
    document = json.loads(ended.stdout)
    assert document["command"] == "serve"
    settings = document["settings"]
    assert settings["threads"] == {"value": 3, "source": "file", "name": str(file)}
    assert settings["rest_port"] == {"value": 3, "source": "flag", "name": "--rest-port"}
    assert settings["insecure"] == {"value": False, "source": "flag", "name": "--insecure"}
    assert settings["log_level"] == {
        "value": "error",
        "source": "variable",
        "name": "TRUNKLINE_LOG_LEVEL",
    }
    assert settings["grpc_port"] == {"value": 50051, "source": "default", "name": ""}
    (warning,) = ended.stderr.splitlines()
    assert "TRUNKLINE_GRPC_PROT" in warning
    assert "TRUNKLINE_GRPC_PORT" in warning

    rows = trunkline(*given, **variables).stdout.splitlines()
    assert next(row.split() for row in rows if row.startswith("rest_port ")) == [
        *("rest_port", "3", "flag", "--rest-port")
    ]


def test_config_of_the_extractor_has_its_settings_and_refuses_as_it_does() -> None:
    ended = trunkline("config", "extractor", "--port", "7", TRUNKLINE_PORT="tcp://10.0.0.1:3000")
    assert ended.stdout.splitlines()[2].split() == ["port", "7", "flag", "--port"]
    assert ended.stderr == ""
    refused = trunkline("config", "extractor", "--grpc-port", "7")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: No such option '--grpc-port'")
    refused = trunkline("config", "--host", "0.0.0.0")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert "--insecure" in refused.stderr


@pytest.mark.parametrize(
    ("command", "own", "foreign"),
    [("serve", "--rest-port", "--socket"), ("extractor", "--socket", "--rest-port")],
)
def test_help_shows_settings_in_groups(command: str, own: str, foreign: str) -> None:
    ended = trunkline(command, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert f"Usage: trunkline {command} [OPTIONS]" in ended.stdout
    for title in ("Options", "Listening", "Backbones", "Logs and metrics"):
        assert f"\n{title}:\n" in ended.stdout
    for words in (own, "--config FILE", "TRUNKLINE_LOG_FORMAT", "default: 127.0.0.1"):
        assert words in ended.stdout
    assert foreign not in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80


@pytest.mark.parametrize("command", ["serve", "extractor"])
def test_first_line_says_what_takes_time_and_the_last_why_it_ended(command: str) -> None:
    ended = trunkline(command, "--backbnoe", "minilm/l6-v2")
    assert ended.returncode == 2
    first, last = ended.stderr.splitlines()
    assert first.startswith("starting: ")
    assert last.startswith("error: ")
    assert "--backbone" in last


def test_first_line_is_json_where_the_log_is() -> None:
    ended = trunkline("serve", "--grpc-port", "-1", TRUNKLINE_LOG_FORMAT="json")
    assert json.loads(ended.stderr.splitlines()[0])["event"].startswith("starting: ")
