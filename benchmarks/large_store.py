"""``python -m benchmarks.large_store``: 10,000 heads and a million examples in PostgreSQL.

The rows are made within PostgreSQL out of one head that was imported, in the store's own tables,
and counted as the store counts them. Then a server is started on them, and asked.
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psycopg
import safetensors.numpy
import sqlalchemy
from rich.console import Console
from rich.table import Table

from service.store import schema
from service.store import tenants as stored_tenants
from tests.e2e.processes import Running, serve_command
from tests.e2e.transports import Grpc, embedding
from tests.postgres import PostgresProcess, connected
from trunkline.v1 import extraction_pb2, heads_pb2

TEXTS = "minilm/l6-v2"
DIM, CLASSES = 384, 3
TENANTS = 100
CALLS = 200
DIGEST = "encode(sha256((h.uid || '-' || e)::bytea), 'hex')"


def main() -> None:
    """Reads the sizes, loads, and measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--heads", type=int, default=10_000)
    parser.add_argument("--examples", type=int, default=1_000_000)
    args = parser.parse_args()
    each = max(1, args.heads // TENANTS), max(1, args.examples // args.heads)
    table = Table(
        "what", "median", "90 %", "most", title=f"{args.heads} heads of {TENANTS} tenants"
    )
    postgres = PostgresProcess()
    try:
        postgres.start()
        postgres.execute("CREATE DATABASE large")
        postgres.url = postgres.url.set(database="large")
        with tempfile.TemporaryDirectory() as name:
            _measure(postgres, Path(name), *each, table)
    finally:
        postgres.remove()
    Console().print(table)


def _measure(
    postgres: PostgresProcess, folder: Path, heads: int, examples: int, table: Table
) -> None:
    with _server(postgres, folder) as running:
        way = Grpc(running.grpc)
        fingerprint = _import(way)
        way.close()
    began = time.monotonic()
    load(postgres, heads, examples)
    table.add_row("load", f"{time.monotonic() - began:.0f} s", "", "")
    began = time.monotonic()
    with _server(postgres, folder) as running:
        table.add_row("start of a server", f"{time.monotonic() - began:.1f} s", "", "")
        way = Grpc(running.grpc)
        for what, call in _calls(way, fingerprint, heads).items():
            _add(table, what, [_timed(call) for _ in range(CALLS)])
        way.close()


def load(postgres: PostgresProcess, heads: int, examples: int) -> None:
    """Makes so many heads of each tenant, with so many examples each, out of the first head.

    Triggers would count row by row, so they are off, and all is counted once in the end.
    """
    plain = postgres.url.set(drivername="postgresql").render_as_string(hide_password=False)
    label = f"'class-' || e % {CLASSES}"
    each = f"FROM heads h CROSS JOIN generate_series(1, {examples}) e WHERE h.name <> 'first'"
    vector = np.random.default_rng(1).normal(size=DIM).astype("<f4").tobytes()
    statements = [
        "SET session_replication_role = replica",
        "INSERT INTO tenants (name, created_at) "  # noqa: S608
        f"SELECT 'tenant-' || t, 0 FROM generate_series(1, {TENANTS}) t",
        _repeated(
            "heads",
            {"uid": "md5(t.id || '-' || n)", "tenant_id": "t.id", "name": "'head-' || n"},
            f"JOIN tenants t ON t.name <> 'first' CROSS JOIN generate_series(1, {heads}) n",
        ),
        _repeated("versions", {"head_uid": "h.uid"}, "JOIN heads h ON h.name <> 'first'"),
        "INSERT INTO examples "
        "(head_uid, digest, kind, label, own_label, source, created_at, external_id) "
        f"SELECT h.uid, {DIGEST}, 'text', {label}, {label}, 'upload', e, 'id-' || e {each}",
        "INSERT INTO embeddings (tenant_id, fingerprint, digest, vector) "
        f"SELECT h.tenant_id, h.fingerprint, {DIGEST}, '\\x{vector.hex()}'::bytea {each}",
    ]
    with psycopg.connect(plain) as connection:
        for statement in statements:
            connection.execute(statement.encode())
    engine = connected(postgres.url)
    with engine.begin() as counting:
        for (tenant,) in counting.execute(sqlalchemy.select(schema.tenants.c.id)).all():
            count, nbytes = stored_tenants.counted(counting, tenant)
            values = {"examples": count, "stored_bytes": nbytes}
            counting.execute(
                sqlalchemy.update(schema.tenants).filter_by(id=tenant).values(**values)
            )
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("VACUUM ANALYZE")


def _repeated(table: str, others: dict[str, str], joined: str) -> str:
    """Repeats the one row of a table that was made through the API, with other keys."""
    names = [column.name for column in schema.metadata.tables[table].columns]
    values = ", ".join(others.get(name, f'o."{name}"') for name in names)
    quoted = ", ".join(f'"{name}"' for name in names)
    return f"INSERT INTO {table} ({quoted}) SELECT {values} FROM {table} o {joined}"  # noqa: S608


def _calls(way: Grpc, fingerprint: str, heads: int) -> dict[str, Callable[[], object]]:
    """What is asked, of a head by chance each time."""
    chance = random.Random(1)
    vector = embedding(fingerprint, np.random.default_rng(2).normal(size=DIM).astype(np.float32))
    known: list[str] = []

    def head() -> str:
        known.append(
            f"tenants/tenant-{chance.randrange(1, TENANTS + 1)}"
            f"/heads/head-{chance.randrange(1, heads + 1)}"
        )
        return known[-1]

    def one_of(name: str) -> object:
        request = heads_pb2.ListExamplesRequest(head=name, page_size=100)
        return way.call("ListExamples", request)

    def pages(parent: str) -> object:
        return way.call("ListHeads", heads_pb2.ListHeadsRequest(parent=parent, page_size=100))

    def lacking(name: str) -> object:
        digests = [f"{chance.randrange(16**64):064x}" for _ in range(128)]
        request = heads_pb2.FindMissingInputsRequest(head=name, digests=digests)
        return way.call("FindMissingInputs", request)

    return {
        "Predict, a head's first": lambda: way.predict(head(), [vector]),
        "Predict, once more": lambda: way.predict(chance.choice(known), [vector]),
        "GetHead": lambda: way.call("GetHead", heads_pb2.GetHeadRequest(name=head())),
        "ListHeads, 100 of a tenant": lambda: pages(head().partition("/heads/")[0]),
        "ListHeads, 100 of all": lambda: pages("tenants/-"),
        "ListExamples, 100 of a head": lambda: one_of(head()),
        "FindMissingInputs, 128": lambda: lacking(head()),
    }


def _import(way: Grpc) -> str:
    """Imports the head that all others are made of; returns its backbone's fingerprint."""
    reply = way.call("ListBackbones", extraction_pb2.ListBackbonesRequest())
    (fingerprint,) = (one.fingerprint for one in reply.backbones if one.name == TEXTS)
    tensors = {
        "weight": np.random.default_rng(3).normal(size=(CLASSES, DIM)).astype(np.float32),
        "bias": np.zeros(CLASSES, np.float32),
    }
    request = heads_pb2.ImportHeadRequest(
        parent="tenants/first",
        head_id="first",
        backbone=TEXTS,
        fingerprint=fingerprint,
        safetensors=safetensors.numpy.save(tensors),
        labels=[f"class-{number}" for number in range(CLASSES)],
    )
    way.call("ImportHead", request)
    return str(fingerprint)


@contextmanager
def _server(postgres: PostgresProcess, folder: Path) -> Iterator[Running]:
    store = postgres.url.render_as_string(hide_password=False)
    command = serve_command(folder / "data", "--store", store, "--backbone", TEXTS)
    running = Running.start(command, folder / "log")
    try:
        yield running.wait_until_serving()
    finally:
        running.close()


def _timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - began)


def _add(table: Table, what: str, taken: list[float]) -> None:
    ninth = statistics.quantiles(taken, n=10)[-1]
    table.add_row(what, *(f"{ms:.1f} ms" for ms in (statistics.median(taken), ninth, max(taken))))


if __name__ == "__main__":
    main()
