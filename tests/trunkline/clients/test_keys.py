"""The client's calls about keys."""

from datetime import UTC, datetime, timedelta

import pytest

from tests.trunkline.recording import Recorder
from trunkline import Client, InvalidArgument, InvalidType, NotFound, Role
from trunkline.v1 import access_pb2

MADE = datetime.fromtimestamp(1_700_000_000, UTC)


def test_key_is_made_listed_rotated_and_revoked(client: Client, recorder: Recorder) -> None:
    operator = client.create_key()
    assert (operator.key.tenant, operator.key.roles) == ("", (Role.OPERATE,))
    made = client.create_key(
        "acme", ["predict", Role.LABEL], heads=["x*"], note="line 1", lifetime_seconds=60
    )
    assert made.text == "tlk_text_of_k2"
    assert made.text not in repr(made)
    assert (made.key.name, made.key.tenant, made.key.heads) == ("keys/k2", "tenants/acme", ("x*",))
    assert made.key.roles == (Role.PREDICT, Role.LABEL)
    assert made.key.expire_time == MADE + timedelta(minutes=1)
    rotated = client.rotate_key("k2", overlap_seconds=30)
    assert rotated.rotated is not None
    assert rotated.rotated.expire_time == MADE + timedelta(seconds=30)
    assert client.revoke_key("keys/k1").revoke_time == MADE
    assert [key.name for key in client.list_keys()] == ["keys/k1", "keys/k2", "keys/k3"]
    assert [key.name for key in client.list_keys("acme")] == ["keys/k2", "keys/k3"]
    assert client.get_key("k3").last_use_time is None
    request = recorder.asked("CreateKey")[1]
    assert request.roles == [access_pb2.ROLE_PREDICT, access_pb2.ROLE_LABEL]


def test_caller_learns_whose_key_it_shows(client: Client) -> None:
    me = client.who_am_i()
    assert (me.key, me.keys_required) == (None, False)
    made = client.create_key()
    assert client.who_am_i().key == made.key


def test_what_is_no_key_or_role_is_refused_here(client: Client) -> None:
    with pytest.raises(NotFound):
        client.get_key("k9")
    with pytest.raises(InvalidArgument, match="keys/"):
        client.get_key("heads/x")
    with pytest.raises(InvalidArgument, match="roles must be one of predict"):
        client.create_key("acme", ["admin"])
    with pytest.raises(InvalidType):
        client.create_key("acme", "predict")
