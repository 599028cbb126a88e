"""A line of the log is one line, whatever a request said."""

from __future__ import annotations

import json
from typing import Literal

import pytest

from service.logs import Seldom, configure_logging, get_logger

HOSTILE = (
    "POST/\x1b[2J\u202e\r\n2026-01-01 [info] forged\x00\u2028\ud800",
    "POST/\x1b[2J\u202eforged\x9b\u2066",  # structlog escapes nothing where no space is
)


pytestmark = pytest.mark.usefixtures("own_logging")


@pytest.mark.parametrize("form", ["console", "json"])
@pytest.mark.parametrize("said", HOSTILE)
def test_event_is_one_line_that_no_terminal_obeys(
    capsys: pytest.CaptureFixture[str], form: Literal["console", "json"], said: str
) -> None:
    configure_logging("info", form)
    get_logger("here").info("request failed", method=said, reason=f"is {said!r}")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    assert "forged" in line
    if form == "json":
        assert json.loads(line)["method"] == said


def test_plain_words_stay_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    get_logger("here").info("request failed", label="größe 漢字")
    assert "größe 漢字" in capsys.readouterr().err


@pytest.mark.parametrize("form", ["console", "json"])
def test_strangers_do_not_fill_the_log(
    capsys: pytest.CaptureFixture[str], form: Literal["console", "json"]
) -> None:
    configure_logging("info", form)
    log = get_logger("here")
    for number in range(1000):
        log.info("refused", number=number, stranger=True)
        log.info("known", number=number, stranger=False)
    lines = capsys.readouterr().err.splitlines()
    assert sum("known" in line for line in lines) == 1000
    of_strangers = [line for line in lines if "refused" in line]
    assert 1 <= len(of_strangers) < 1000
    assert "stranger" not in "".join(lines)


def test_log_says_how_many_lines_of_strangers_it_lacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    times = iter((0.0, 0.1, 0.2, 1.1))
    configure_logging("info", "json", strangers=Seldom(clock=lambda: next(times)))
    for _ in range(4):
        get_logger("here").info("refused", stranger=True)
    first, second = map(json.loads, capsys.readouterr().err.splitlines())
    assert "left_out" not in first
    assert second["left_out"] == 2
