"""The second run of the service's tests, on PostgreSQL.

    python -m tests.second_run PYTEST_OPTIONS

starts a PostgreSQL server for all of them, or takes the one that TRUNKLINE_TEST_POSTGRES names, and
has every server under test keep its store there. Each data directory of a test has a database of
its own. A file in the directory names it, so that a directory that is copied, or served again,
comes with what was stored for it.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from pathlib import Path

from sqlalchemy import make_url

from tests.postgres import RUNNING, Postgres, open_postgres

SWITCH = "TRUNKLINE_TEST_STORE"
ON_POSTGRES = os.environ.get(SWITCH) == "postgres"
NOT_THERE = "not long and not gpu and not sqlite_file"

_FILE = "test-database"


def store_of(data_dir: Path) -> str | None:
    """Returns the address of a data directory's store, which is made, or copied with it.

    None in the first run: it lies in the directory.
    """
    if not ON_POSTGRES:
        return None
    data_dir.mkdir(parents=True, exist_ok=True)
    file = data_dir / _FILE
    name, _, place = file.read_text().partition(" ") if file.exists() else ("", "", "")
    if place != str(data_dir):
        name = _postgres().keep(name)
        file.write_text(f"{name} {data_dir}")
    return _postgres().url.set(database=name).render_as_string(hide_password=False)


@cache
def _postgres() -> Postgres:
    return Postgres(make_url(os.environ[RUNNING]))


def main(options: list[str]) -> int:
    """Runs the tests; returns the exit status."""
    with open_postgres() as server:
        address = server.url.render_as_string(hide_password=False)
        command = [sys.executable, "-m", "pytest", "-m", NOT_THERE, *options]
        environment = {**os.environ, SWITCH: "postgres", RUNNING: address}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
