"""Pages, specs and errors on the wire."""

from __future__ import annotations

import base64
import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapters
from adapters.spec import FRONTS, Augmentation, FineTune, NoveltySpec
from service.errors import InvalidRequest, NotFound
from service.replies.heads import spec_message, timestamp
from service.replies.rows import row_error
from service.requests.paging import page_size, read_page_token, write_page_token
from service.requests.specs import read_spec
from trunkline.resources import ID_PATTERN
from trunkline.v1 import heads_pb2


@given(st.integers(0, 2**63 - 1))
def test_number_in_a_page_token_comes_back(key: int) -> None:
    assert read_page_token(write_page_token(key), int) == key


@given(st.from_regex(ID_PATTERN, fullmatch=True))
def test_name_in_a_page_token_comes_back(key: str) -> None:
    assert read_page_token(write_page_token(key), str) == key


def test_no_token_is_the_first_page() -> None:
    assert read_page_token("", int) == 0
    assert read_page_token("", str) == ""


def token(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


@pytest.mark.parametrize("kind", [int, str])
@pytest.mark.parametrize(
    "text",
    [
        *("!", "AAA", "é", "////", "a b", "x" * 5000),
        *(token(None), token([1]), token({"a": 1}), token(True), token(1.5)),
        *(token(-1), token(2**63), token("\ud800")),
        base64.urlsafe_b64encode(b"[" * 3000).decode(),
        base64.urlsafe_b64encode(b"9" * 5000).decode(),
        base64.urlsafe_b64encode(b"\xff\xfe").decode(),
    ],
)
def test_token_that_no_page_gave_is_refused(kind: type[int] | type[str], text: str) -> None:
    with pytest.raises(InvalidRequest, match="page_token") as caught:
        read_page_token(text, kind)
    assert caught.value.field == "page_token"


def test_token_of_another_list_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        read_page_token(write_page_token("name"), int)
    with pytest.raises(InvalidRequest):
        read_page_token(write_page_token(3), str)


@given(st.text(max_size=40))
def test_any_token_is_either_read_or_refused(text: str) -> None:
    with suppress(InvalidRequest):
        assert isinstance(read_page_token(text, int), int)


@pytest.mark.parametrize(("wanted", "size"), [(0, 100), (1, 1), (1000, 1000)])
def test_page_size_has_a_default(wanted: int, size: int) -> None:
    assert page_size(wanted) == size


def test_page_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 1000, is 1001"):
        page_size(1001)


SPECS = st.builds(
    adapters.HeadSpec,
    family=st.sampled_from(["auto", *adapters.FAMILIES]),
    seed=st.integers(0, 2**32 - 1),
    l2=st.none() | st.floats(1e-6, 1e6),
    front=st.sampled_from(FRONTS),
    class_weights=st.dictionaries(st.text(min_size=1, max_size=3), st.floats(0.1, 10)),
    augment=st.builds(Augmentation, views=st.integers(0, 32), noise=st.floats(0.01, 10)),
    novelty=st.none()
    | st.builds(NoveltySpec, false_alarm_rate=st.floats(0.01, 0.99), abstain=st.booleans()),
    fine_tune=st.builds(
        FineTune,
        strategy=st.sampled_from(adapters.STRATEGIES),
        max_epochs=st.integers(1, 100),
        learning_rate=st.floats(1e-9, 0.1),
        rate_decay=st.floats(1e-3, 1),
        views=st.integers(1, 3),
        flips=st.booleans(),
    ),
)


@given(SPECS)
def test_spec_comes_back_from_the_wire_and_from_the_store(spec: adapters.HeadSpec) -> None:
    stored = json.loads(json.dumps(spec.to_json()))
    message = heads_pb2.HeadSpec.FromString(spec_message(stored).SerializeToString())
    assert read_spec(message) == spec


def test_balanced_classes_come_back_from_the_wire() -> None:
    spec = adapters.HeadSpec(class_weight="balanced")
    assert read_spec(spec_message(spec.to_json())) == spec


def test_spec_stored_before_there_were_fronts_takes_the_defaults() -> None:
    stored = {"family": "ridge", "seed": 3, "l2": None}
    assert read_spec(spec_message(stored)) == adapters.HeadSpec(family="ridge", seed=3)


def test_empty_parts_of_a_spec_are_the_default_ones() -> None:
    assert read_spec(heads_pb2.HeadSpec()) == adapters.HeadSpec()
    message = heads_pb2.HeadSpec(
        augment=heads_pb2.Augmentation(views=2), novelty=heads_pb2.Novelty()
    )
    assert read_spec(message) == adapters.HeadSpec(
        augment=Augmentation(views=2), novelty=NoveltySpec()
    )


def test_fine_tuning_that_is_only_named_takes_the_defaults() -> None:
    message = heads_pb2.HeadSpec(fine_tune=heads_pb2.FineTune(strategy="tail"))
    assert read_spec(message).fine_tune == FineTune(strategy="tail")
    nothing = heads_pb2.HeadSpec(fine_tune=heads_pb2.FineTune())
    assert not read_spec(nothing).fine_tune.wanted
    assert not spec_message(adapters.HeadSpec().to_json()).HasField("fine_tune")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("strategy", "everything"), ("max_epochs", 101), ("learning_rate", 0.2)),
        *(("learning_rate", float("nan")), ("rate_decay", 1.5), ("views", 33)),
    ],
)
def test_impossible_fine_tuning_is_an_error_that_names_field_limit_and_value(
    field: str, value: str | float
) -> None:
    fine_tune = heads_pb2.FineTune(**{field: value})  # type: ignore[arg-type]
    with pytest.raises(adapters.InvalidSpec) as caught:
        read_spec(heads_pb2.HeadSpec(fine_tune=fine_tune))
    error = caught.value
    assert error.field == f"fine_tune.{field}"
    assert error.limit
    assert str(error.value) == str(value)


def test_impossible_spec_is_an_error_that_names_the_field() -> None:
    with pytest.raises(adapters.InvalidSpec) as caught:
        read_spec(heads_pb2.HeadSpec(family="forest"))
    assert caught.value.field == "family"


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


def test_timestamp_keeps_fractions_of_a_second() -> None:
    microseconds = timestamp(1_700_000_000.25).ToNanoseconds() / 1000
    assert abs(microseconds - 1_700_000_000_250_000) < 1
