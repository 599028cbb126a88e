"""Specs of heads on the wire."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adapters
from adapters.spec import FRONTS, Augmentation, FineTune, NoveltySpec
from service.replies.heads import spec_message
from service.requests.specs import read_spec
from trunkline.labels import normalised
from trunkline.v1 import heads_pb2

SPECS = st.builds(
    adapters.HeadSpec,
    family=st.sampled_from(["auto", *adapters.FAMILIES]),
    seed=st.integers(0, 2**32 - 1),
    l2=st.none() | st.floats(1e-6, 1e6),
    front=st.sampled_from(FRONTS),
    class_weights=st.dictionaries(
        st.text(min_size=1, max_size=3).map(normalised), st.floats(0.1, 10)
    ),
    augment=st.builds(Augmentation, views=st.integers(0, 32), noise=st.floats(0.01, 10)),
    novelty=st.none()
    | st.builds(NoveltySpec, false_alarm_rate=st.floats(0.01, 0.99), abstain=st.booleans()),
    fine_tune=st.builds(
        FineTune,
        strategy=st.sampled_from(adapters.STRATEGIES),
        max_epochs=st.integers(1, 100),
        learning_rate=st.floats(1e-9, 0.1),
        rate_decay=st.floats(1e-3, 1),
        views=st.none() | st.integers(1, 3),
        flips=st.booleans(),
    ),
    average_views=st.integers(0, 3),
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


def test_views_that_are_not_named_are_chosen_and_none_can_be_named() -> None:
    for fine_tune, views in (
        (heads_pb2.FineTune(strategy="tail"), None),
        (heads_pb2.FineTune(strategy="tail", views=0), 0),
        (heads_pb2.FineTune(strategy="tail", flips=True), 3),
        (heads_pb2.FineTune(strategy="tail", views=2), 2),
    ):
        spec = read_spec(heads_pb2.HeadSpec(fine_tune=fine_tune))
        assert spec.fine_tune.views == views
        again = spec_message(spec.to_json()).fine_tune
        assert (again.views if again.HasField("views") else None) == views


def test_spec_stored_before_views_could_be_chosen_stays_what_it_was() -> None:
    stored = adapters.HeadSpec(fine_tune=FineTune("tail", views=0)).to_json()
    assert spec_message(stored).fine_tune.HasField("views")
    plain = adapters.HeadSpec(fine_tune=FineTune(views=0)).to_json()
    assert not spec_message(plain).HasField("fine_tune")


def test_averaging_over_more_views_than_there_are_is_an_error() -> None:
    with pytest.raises(adapters.InvalidSpec) as caught:
        read_spec(heads_pb2.HeadSpec(average_views=33))
    assert (caught.value.field, caught.value.value) == ("average_views", 33)
    assert "32" in str(caught.value.limit)


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
