"""What a server would run with, as the command line says it, and what it says first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.e2e.processes import END_SECONDS, ROOT
from trunkline.cli import main


@pytest.fixture
def in_process(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command line without a process of its own, for what ends before a server begins."""
    for name in [name for name in os.environ if name.startswith("TRUNKLINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(signal, "signal", lambda *_: None)  # the tests' own handlers stay

    def run(*args: str, **environment: str) -> Result:
        return CliRunner(env=environment).invoke(main, args)

    return run


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
        *("rest_port", "3", "--rest-port")
    ]


def test_config_of_the_extractor_has_its_settings_and_refuses_as_it_does(
    in_process: Callable[..., Result],
) -> None:
    ended = in_process("config", "extractor", "--port", "7", TRUNKLINE_PORT="tcp://10.0.0.1:3000")
    assert ended.stdout.splitlines()[2].split() == ["port", "7", "--port"]
    assert ended.stderr == ""
    refused = in_process("config", "extractor", "--grpc-port", "7")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert refused.stderr.startswith("error: No such option '--grpc-port'")
    refused = in_process("config", "extractor", "--host", "0.0.0.0")
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "--insecure" in refused.stderr


@pytest.mark.parametrize(
    ("command", "own", "foreign"),
    [("serve", "--rest-port", "--socket"), ("extractor", "--socket", "--rest-port")],
)
def test_help_shows_settings_in_groups(
    command: str, own: str, foreign: str, in_process: Callable[..., Result]
) -> None:
    ended = in_process(command, "--help")
    assert (ended.exit_code, ended.stderr) == (0, "")
    assert f"Usage: trunkline {command} [OPTIONS]" in ended.stdout
    for title in ("Options", "Listening", "Access", "Encryption", "Backbones", "Logs and metrics"):
        assert f"\n{title}:\n" in ended.stdout
    assert "\nOther:\n" not in ended.stdout
    for words in (
        own,
        "--config FILE",
        "TRUNKLINE_LOG_FORMAT",
        "default: 127.0.0.1",
        "0<=x<=256]",
        "x>=1]",
    ):
        assert words in ended.stdout
    assert foreign not in ended.stdout
    assert max(map(len, ended.stdout.splitlines())) <= 80


@pytest.mark.parametrize("command", ["serve", "extractor"])
def test_first_line_says_what_takes_time_and_the_last_why_it_ended(
    command: str, in_process: Callable[..., Result]
) -> None:
    ended = in_process(command, "--backbnoe", "minilm/l6-v2")
    assert ended.exit_code == 2
    first, last = ended.stderr.splitlines()
    assert first.startswith("starting: ")
    assert last.startswith("error: ")
    assert "--backbone" in last


@pytest.mark.parametrize(
    ("args", "environment"),
    [((), {"TRUNKLINE_LOG_FORMAT": "json"}), (("--log-format", "json"), {})],
    ids=["variable", "flag"],
)
def test_first_line_is_json_where_the_log_is(
    args: tuple[str, ...], environment: dict[str, str], in_process: Callable[..., Result]
) -> None:
    ended = in_process("serve", "--grpc-port", "-1", *args, **environment)
    assert json.loads(ended.stderr.splitlines()[0])["event"].startswith("starting: ")


@pytest.mark.parametrize(
    ("command", "ports"),
    [
        ("serve", ("--grpc-port", "--rest-port")),
        ("extractor", ("--port", "--metrics-port")),
    ],
)
def test_backbone_that_would_have_to_be_downloaded_is_refused_offline(
    command: str, ports: tuple[str, ...], tmp_path: Path
) -> None:
    zeros = [word for port in ports for word in (port, "0")]
    ended = trunkline(
        *(command, "--offline", "--backbone", "huggingface/org/name", *zeros),
        HF_HOME=str(tmp_path),
        TRUNKLINE_CACHE_DIR=str(tmp_path),
        **({"TRUNKLINE_DATA_DIR": str(tmp_path / "data")} if command == "serve" else {}),
    )
    assert ended.returncode not in (0, -9)
    assert ended.stdout == ""
    hub = tmp_path / "hub"
    assert f"are not in {hub}, and cannot be downloaded: offline is set" in ended.stderr
    assert "hf download org/name" in ended.stderr
