"""Inputs of the traffic are kept as a head says, over both transports and by the commands."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.e2e.conftest import TEXTS, Cli
from tests.e2e.learning import make_head, strangers
from tests.e2e.metrics import samples
from tests.e2e.transports import Refused, Transport, text
from trunkline import Backbone, Client
from trunkline.digest import text_digest
from trunkline.v1 import common_pb2, heads_pb2, prediction_pb2

ALWAYS = prediction_pb2.CAPTURE_CHOICE_ALWAYS
NEVER = prediction_pb2.CAPTURE_CHOICE_NEVER


@pytest.fixture
def fingerprint(backbones: dict[str, Backbone]) -> str:
    return backbones[TEXTS].fingerprint


@pytest.fixture
def head(transport: Transport, tenant: str, fingerprint: str) -> str:
    return make_head(transport, tenant, fingerprint)


def capture(transport: Transport, head: str, **rules: Any) -> heads_pb2.Head:
    request = heads_pb2.UpdateHeadRequest(name=head, capture=heads_pb2.Capture(**rules))
    found: heads_pb2.Head = transport.call("UpdateHead", request).head
    return found


def eventually(condition: Callable[[], bool]) -> None:
    """Asks again and again, as inputs are stored after the reply."""
    for _ in range(10_000):
        if condition():
            return
    raise AssertionError("it never came true")


def count(transport: Transport, head: str) -> int:
    found = transport.call("GetHead", heads_pb2.GetHeadRequest(name=head)).head
    return int(found.capture_count)


def test_traffic_is_kept_once_the_head_says_so_and_forgotten_with_its_digest(
    transport: Transport, head: str
) -> None:
    def predict(words: str, **more: Any) -> None:
        (row,) = transport.predict(head, [text(words)], **more).rows
        assert row.error is None

    with pytest.raises(Refused) as refused:
        predict("nothing is kept yet", capture=ALWAYS)
    assert (refused.value.code, refused.value.field) == ("FAILED_PRECONDITION", "capture")
    kept = capture(transport, head, random_share=1.0, days=3).capture
    assert (kept.random_share, kept.days, kept.per_hour, kept.share) == (1.0, 3, 60, 1.0)
    predict("first", external_ids=["a/1"], metadata=[common_pb2.Metadata(pairs={"line": "3"})])
    predict("not this one", capture=NEVER)
    predict("second")
    eventually(lambda: count(transport, head) == 2)
    with pytest.raises(Refused) as refused:
        predict("names of others", external_ids=["a", "b"])
    assert (refused.value.field, refused.value.value) == ("external_ids", "2")
    forgotten = heads_pb2.ForgetExamplesRequest(head=head, digests=[text_digest("first")])
    assert transport.call("ForgetExamples", forgotten).forgotten == 1
    assert count(transport, head) == 1
    with pytest.raises(Refused) as refused:
        capture(transport, head, random_share=2.0)
    assert refused.value.field == "capture.random_share"
    assert not capture(transport, head, off=True).HasField("capture")
    predict("third")
    assert count(transport, head) == 1


def test_captured_inputs_are_forgotten_by_their_names_and_metadata(
    transport: Transport, head: str
) -> None:
    capture(transport, head, random_share=1.0)
    said = [("one", "a/1", {"patient": "7"}), ("two", "a/2", {"patient": "7"}), ("three", "", {})]
    for words, name, pairs in said:
        metadata = [common_pb2.Metadata(pairs=pairs)]
        transport.predict(head, [text(words)], external_ids=[name], metadata=metadata)
    eventually(lambda: count(transport, head) == 3)

    def forget(**chosen: Any) -> int:
        request = heads_pb2.ForgetExamplesRequest(head=head, **chosen)
        forgotten: int = transport.call("ForgetExamples", request).forgotten
        return forgotten

    assert forget(external_ids=["a/2", "a/3"]) == 1
    assert forget(metadata=common_pb2.Metadata(pairs={"patient": "8"})) == 0
    assert forget(metadata=common_pb2.Metadata(pairs={"patient": "7"})) == 1
    assert count(transport, head) == 1


def test_rule_of_the_margin_and_its_metrics(
    transport: Transport, head: str, http: httpx.Client, fingerprint: str
) -> None:
    name = "trunkline_captures_total"
    before = samples(http, name, reason="uncertain")
    capture(transport, head, uncertain_share=1.0, uncertain_margin=1.0)
    transport.predict(head, strangers(fingerprint, 3))
    eventually(lambda: samples(http, name, reason="uncertain") == before + 3)


def test_commands_say_and_show_what_is_kept(cli: Cli, client: Client, tenant: str) -> None:
    head = f"{tenant}/mood"
    made = cli("heads", "create", head, "--backbone", TEXTS, "--capture", "random=0.01")
    assert "0.01 at random; at most 60 an hour" in made.stdout
    assert "inputs of its traffic are stored from now on" in made.stderr
    changed = cli("heads", "update", head, "--capture-days", "3", "--json")
    found = json.loads(changed.stdout)["capture"]
    assert (found["days"], found["random_share"]) == (3, 0.01)
    assert "from now on" not in changed.stderr
    assert client.get_head(head).capture is not None
    assert cli("heads", "update", head, "--no-capture").returncode == 0
    assert client.get_head(head).capture is None
