"""The audit log of a server with keys: what was changed and who was refused, over both transports.

What calls carry is in no log: neither in the table, nor in the file, nor in the server's own.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest

from tests.e2e.conftest import TEXTS
from tests.e2e.processes import Running, serve_command
from trunkline import AuditEntry, Client, NotFound, PermissionDenied, TrunklineError
from trunkline import errors as told

MARKED = "qzxmarked"
TEXT, LABEL, NOTE, GROUP = (f"{MARKED} {kind}" for kind in ("text", "label", "note", "group"))
HEAD, OTHER = "acme/defects", "other/theirs"


@dataclass
class Keyed:
    """A server that asks for keys, and one key of each kind."""

    running: Running
    data_dir: Path
    file: Path
    keys: dict[str, str]

    def client(self, bearer: str) -> Client:
        return Client(self.running.grpc, token=self.keys.get(bearer, bearer))

    def http(self, bearer: str) -> httpx.Client:
        key = self.keys.get(bearer, bearer)
        headers = {"authorization": f"Bearer {key}"} if key else {}
        return httpx.Client(base_url=self.running.rest, headers=headers, timeout=60)

    def entries(self, bearer: str = "operator", **how: Any) -> list[AuditEntry]:
        with self.client(bearer) as client:
            return list(client.audit(**how))


@pytest.fixture(scope="module")
def keyed(tmp_path_factory: pytest.TempPathFactory, cache_dir: Path) -> Iterator[Keyed]:
    folder = tmp_path_factory.mktemp("audited")
    data_dir, file = folder / "data", folder / "audit.jsonl"
    options = ("--auth", "required", "--audit-file", str(file), "--log-level", "debug")
    command = serve_command(data_dir, *options, "--backbone", TEXTS)
    running = Running.start(command, folder / "log")
    try:
        running.wait_until_serving()
        keys = {"operator": (data_dir / "operator.key").read_text().strip()}
        with Client(running.grpc, token=keys["operator"]) as client:
            all_roles = ["predict", "feedback", "label", "train", "own"]
            keys["acme"] = client.create_key("acme", all_roles, note=NOTE).text
            keys["predict"] = client.create_key("acme", ["predict"]).text
            keys["other"] = client.create_key("other", all_roles).text
        yield Keyed(running, data_dir, file, keys)
    finally:
        running.close()


@pytest.fixture(scope="module")
def used(keyed: Keyed) -> Keyed:
    """The server after changes and refusals of every kind, most of them with marked texts."""
    with keyed.client("other") as other:
        other.create_head(OTHER, TEXTS)
    with keyed.client("acme") as acme:
        acme.create_head(HEAD, TEXTS)
        rows = [(f"{TEXT} {number}", f"{LABEL} {number % 2}") for number in range(8)]
        acme.upload(HEAD, rows)
        acme.train(HEAD)
        acme.predict(HEAD, [TEXT])
        for wrong in (lambda: acme.predict(OTHER, [TEXT]), lambda: acme.get_head(OTHER)):
            with pytest.raises(NotFound):
                wrong()
        with pytest.raises(NotFound):
            acme.get_head("acme/none")
    with keyed.client("predict") as narrow, pytest.raises(PermissionDenied):
        narrow.delete_head(HEAD)
    with keyed.client(f"tlk_{MARKED}") as stranger, pytest.raises(told.Unauthenticated):
        stranger.get_head(HEAD)
    with keyed.http("") as nobody:
        lie = {"x-forwarded-for": "192.0.2.1", "forwarded": "for=192.0.2.1"}
        assert nobody.delete("/v1/tenants/acme/heads/defects", headers=lie).status_code == 401
        assert nobody.get(f"/v1/{TEXT}?token={keyed.keys['acme']}").status_code == 401
    with keyed.http("predict") as narrow_rest:
        assert narrow_rest.get("/metrics").status_code == 403
        path = "/v1/tenants/acme/heads/defects"
        assert narrow_rest.delete(path).status_code == 403
        assert narrow_rest.get("/v1/tenants/other/heads/theirs").status_code == 404
    make_mistakes(keyed)
    return keyed


def make_mistakes(keyed: Keyed) -> None:
    """Asks for what is refused by its values, which are marked texts or keys."""
    key = keyed.keys["acme"]
    with keyed.client("acme") as acme:
        for mistake in (
            lambda: acme.get_key(key),
            lambda: acme.revoke_key(key),
            lambda: acme.get_head(f"acme/{key}"),
            lambda: acme.rename_label(HEAD, f"{LABEL} none", f"{LABEL} new"),
            lambda: acme.upload(HEAD, [(TEXT, "x" * 300 + MARKED)]),
            lambda: acme.upload(HEAD, [(TEXT, f"{MARKED}\n")]),
            lambda: acme.create_key("acme", ["predict"], note=f"{MARKED}\n"),
            lambda: acme.create_key("acme", ["predict"], heads=[f"{MARKED} *"]),
        ):
            with suppress(TrunklineError):
                mistake()
        acme.create_head("acme/few", TEXTS)
        acme.upload("acme/few", [(f"{TEXT} {number}", LABEL) for number in range(3)])
        with pytest.raises(TrunklineError):
            acme.train("acme/few")
    with grpc.insecure_channel(keyed.running.grpc) as channel:
        for path in (f"/{TEXT}/Call", f"/{key}/{MARKED}"):
            call: Any = channel.unary_unary(path)
            with suppress(grpc.RpcError):
                call(b"", timeout=30)
    head = "/v1/tenants/acme/heads/defects"
    with keyed.http("acme") as http:
        for path, body in (
            (f"{head}:predict", {"inputs": [{"text": TEXT, MARKED: 1}]}),
            (f"{head}:predict", {"inputs": [{"text": 5, "image": MARKED}]}),
            (f"{head}:predict", {"head": TEXT, "inputs": [{"text": TEXT}]}),
            (f"{head}:predict", {"inputs": [{"image": MARKED}]}),
            (f"{head}/feedback", {"items": [{"input": {"text": TEXT}, "label": f"{LABEL}\n"}]}),
            (f"{head}/examples", {"examples": [{"input": {"text": TEXT}, "group": f"{GROUP}\n"}]}),
            (f"{head}/labels:rename", {"label": LABEL, "new_label": f"{LABEL} \n"}),
            (f"{head}/labels:merge", {"labels": [LABEL], "into": LABEL}),
            ("/v1/tenants/acme/heads", {"head_id": TEXT, "backbone": MARKED}),
            ("/v1/keys", {"tenant": TEXT, "note": NOTE}),
            (f"/v1/{MARKED}", {"text": TEXT}),
        ):
            http.post(path, json=body)


def outcomes(entries: list[AuditEntry]) -> set[tuple[str, str, str]]:
    return {(entry.method, entry.outcome, entry.transport) for entry in entries}


def test_every_change_is_one_row_with_its_key_and_resource(used: Keyed) -> None:
    with used.client("acme") as client:
        me = client.who_am_i().key
    assert me is not None
    entries = used.entries(key=me.name)
    for method in ("CreateHead", "TrainHead"):
        name = "tenants/acme/heads/defects"
        (entry,) = [each for each in entries if (each.method, each.resource) == (method, name)]
        assert (entry.outcome, entry.tenant) == ("OK", "tenants/acme")
        assert (entry.transport, entry.peer) == ("grpc", "127.0.0.1")
        assert len(entry.request_id) == 32
    assert ("AddExamples", "OK", "grpc") in outcomes(entries)
    assert ("Predict", "OK", "grpc") not in outcomes(entries)
    (first,) = used.entries(method="CreateKey", until=entries[-1].time.timestamp())[-1:]
    assert (first.transport, first.tenant) == ("store", "")
    assert first.resource.startswith("keys/")


def test_every_refusal_is_a_row_and_what_is_missing_is_none(used: Keyed) -> None:
    assert outcomes(used.entries()) >= {
        ("GetHead", "UNAUTHENTICATED", "grpc"),
        ("DeleteHead", "UNAUTHENTICATED", "rest"),
        ("DeleteHead", "PERMISSION_DENIED", "grpc"),
        ("DeleteHead", "PERMISSION_DENIED", "rest"),
        ("Predict", "NOT_FOUND", "grpc"),
        ("GetHead", "NOT_FOUND", "grpc"),
        ("GetHead", "NOT_FOUND", "rest"),
    }
    assert {entry.peer for entry in used.entries() if entry.peer} == {"127.0.0.1"}
    named = {entry.resource for entry in used.entries() if entry.outcome == "NOT_FOUND"}
    # Whether a key that is not to be seen is another's is not looked up: it counts as refused.
    assert named == {"tenants/other/heads/theirs", "keys/tlk_…"}


def test_tenant_sees_what_its_own_keys_did_and_nothing_of_others(used: Keyed) -> None:
    seen = used.entries("acme")
    assert {entry.tenant for entry in seen} == {"tenants/acme"}
    assert ("GetHead", "NOT_FOUND", "rest") in outcomes(seen)
    assert {entry.outcome for entry in used.entries("other")} == {"OK"}
    with used.client("acme") as client, pytest.raises(NotFound):
        list(client.audit("other"))
    with used.client("predict") as client, pytest.raises(PermissionDenied):
        list(client.audit())


def test_rest_lists_the_same_rows(used: Keyed) -> None:
    with used.http("acme") as http:
        reply = http.get("/v1/audit", params={"method": "CreateHead", "since": 1.5, "page_size": 9})
        assert [row["method"] for row in reply.json()["entries"]] == ["CreateHead"] * 2
        assert http.get("/v1/audit", params={"tenant": "tenants/other"}).status_code == 404


@pytest.mark.sqlite_file
def test_no_log_has_a_text_or_a_key(used: Keyed) -> None:
    with closing(sqlite3.connect(used.data_dir / "trunkline.db")) as store:
        rows = "\n".join(str(row) for row in store.execute("SELECT * FROM audit"))
    own = used.running.log.read_text()
    for name, log in (("table", rows), ("file", used.file.read_text()), ("log", own)):
        found = [line for line in log.splitlines() if MARKED in line]
        assert not found, (name, found[:5])
        for key in used.keys.values():
            assert key not in log, name
    assert len(used.file.read_text().splitlines()) > 10
