"""How many rows may be inside the pipeline."""

from __future__ import annotations

import gc
import weakref
from contextlib import AbstractContextManager

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.errors import QueueFull
from service.extraction.admission import Admission

PER_TENANT, TOTAL = 10, 25
BIG = 1 << 30
TENANTS = ("a", "b", "c", "d")


def test_request_of_many_rows_is_admitted_whole_or_not_at_all() -> None:
    admission = Admission(per_tenant=10, total=100, max_bytes=BIG)
    with admission.hold("a", 8):
        with pytest.raises(QueueFull), admission.hold("a", 3):
            pass
        with admission.hold("a", 2):
            pass


def test_one_row_meets_the_same_rule_as_many() -> None:
    admission = Admission(per_tenant=10, total=100, max_bytes=BIG)
    with (
        admission.hold("a", 10),
        pytest.raises(QueueFull, match="at most 10, would be 11"),
        admission.hold("a", 1),
    ):
        pass


def test_refusal_names_limit_value_and_when_to_retry() -> None:
    admission = Admission(per_tenant=4, total=100, max_bytes=BIG, retry_after=1.5)
    with pytest.raises(QueueFull) as caught, admission.hold("a", 5):
        pass
    error = caught.value
    assert (error.limit, error.value, error.retry_after) == (4, 5, 1.5)
    assert error.field == "queued rows of this tenant"


def test_full_tenant_does_not_keep_others_out() -> None:
    admission = Admission(per_tenant=4, total=100, max_bytes=BIG)
    with admission.hold("a", 4), admission.hold("b", 4):
        pass


def test_total_bounds_all_tenants_together() -> None:
    admission = Admission(per_tenant=4, total=6, max_bytes=BIG)
    with (
        admission.hold("a", 4),
        pytest.raises(QueueFull, match="all tenants: at most 6, would be 7"),
        admission.hold("b", 3),
    ):
        pass


def test_bytes_are_bounded_for_all_tenants_together_and_free_again_afterwards() -> None:
    admission = Admission(per_tenant=9, total=9, max_bytes=100)
    with (
        admission.hold("a", 1, 60),
        pytest.raises(QueueFull, match="bytes: at most 100, would be 101"),
        admission.hold("b", 1, 41),
    ):
        pass
    with admission.hold("b", 1, 100):
        pass


def test_places_are_free_again_after_an_error() -> None:
    admission = Admission(per_tenant=4, total=4, max_bytes=BIG)
    with pytest.raises(ValueError, match="inside"), admission.hold("a", 4):
        raise ValueError("inside")
    with admission.hold("b", 4):
        pass


def test_idle_tenant_takes_no_memory() -> None:
    class Name(str):
        pass

    admission = Admission(per_tenant=4, total=4, max_bytes=BIG)
    name = Name("gone")
    reference = weakref.ref(name)
    with admission.hold(name, 1):
        pass
    del name
    gc.collect()
    assert reference() is None


class AdmissionMachine(RuleBasedStateMachine):
    """Requests come and go in any order; places held always equal those of the living ones."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(per_tenant=PER_TENANT, total=TOTAL, max_bytes=BIG)
        self.living: list[tuple[str, int, AbstractContextManager[None]]] = []

    def held(self, tenant: str | None = None) -> int:
        return sum(rows for name, rows, _ in self.living if tenant in (None, name))

    @rule(tenant=st.sampled_from(TENANTS), rows=st.integers(1, PER_TENANT + 1))
    def arrive(self, tenant: str, rows: int) -> None:
        fits = self.held(tenant) + rows <= PER_TENANT and self.held() + rows <= TOTAL
        place = self.admission.hold(tenant, rows)
        if fits:
            place.__enter__()
            self.living.append((tenant, rows, place))
        else:
            with pytest.raises(QueueFull):
                place.__enter__()

    @precondition(lambda self: self.living)
    @rule(data=st.data(), fails=st.booleans())
    def leave(self, data: st.DataObject, fails: bool) -> None:
        _, _, place = self.living.pop(data.draw(st.integers(0, len(self.living) - 1)))
        if fails:
            error = ValueError("the request failed")
            assert not place.__exit__(ValueError, error, None)
        else:
            place.__exit__(None, None, None)

    @invariant()
    def what_is_left_is_free_and_no_more(self) -> None:
        for tenant in TENANTS:
            room = min(PER_TENANT - self.held(tenant), TOTAL - self.held())
            if room:
                with self.admission.hold(tenant, room):
                    pass
            with pytest.raises(QueueFull), self.admission.hold(tenant, room + 1):
                pass


TestAdmissionMachine = AdmissionMachine.TestCase
