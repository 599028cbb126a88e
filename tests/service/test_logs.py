"""A line of the log is one line, whatever a request said."""

from __future__ import annotations

import json
from typing import Literal

import pytest

from service.logs import configure_logging, get_logger

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
