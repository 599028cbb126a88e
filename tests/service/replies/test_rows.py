"""What is said of a row that failed."""

from __future__ import annotations

import pytest

from service.errors import NotFound
from service.replies.rows import row_error


def test_row_error_tells_code_field_limit_and_value() -> None:
    error = row_error(3, NotFound("digest: unknown", field="digest", value="ab"), "id")
    assert (error.row, error.code, error.message) == (3, "NOT_FOUND", "digest: unknown")
    assert (error.field, error.limit, error.value) == ("digest", "", "ab")


def test_unexpected_row_error_tells_nothing_but_is_logged_with_the_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    error = row_error(0, ValueError("secret"), "request-17")
    assert (error.code, error.message) == ("INTERNAL", "internal error")
    logged = capsys.readouterr()
    assert "request-17" in logged.out + logged.err
    assert "secret" in logged.out + logged.err
