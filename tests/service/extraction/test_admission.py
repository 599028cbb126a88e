"""Admission control: how many rows may be inside the pipeline."""

from __future__ import annotations

import gc
import heapq
import weakref
from collections import Counter
from contextlib import AbstractContextManager, ExitStack

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
    with admission.admit("a", 8):
        with pytest.raises(QueueFull), admission.admit("a", 3):
            pass
        with admission.admit("a", 2):
            pass


def test_one_row_meets_the_same_rule_as_many() -> None:
    admission = Admission(per_tenant=10, total=100, max_bytes=BIG)
    with (
        admission.admit("a", 10),
        pytest.raises(QueueFull, match="at most 10, would be 11"),
        admission.admit("a", 1),
    ):
        pass


def test_refusal_names_limit_value_and_when_to_retry() -> None:
    admission = Admission(per_tenant=4, total=100, max_bytes=BIG)
    with pytest.raises(QueueFull) as caught, admission.admit("a", 5):
        pass
    error = caught.value
    assert (error.limit, error.value, error.retry_after) == (4, 5, 0.5)
    assert error.field == "queued rows of this tenant"


def test_full_tenant_does_not_keep_others_out() -> None:
    admission = Admission(per_tenant=4, total=100, max_bytes=BIG)
    with admission.admit("a", 4), admission.admit("b", 4):
        pass


def test_total_bounds_all_tenants_together() -> None:
    admission = Admission(per_tenant=4, total=6, max_bytes=BIG)
    with (
        admission.admit("a", 4),
        pytest.raises(QueueFull, match="all tenants: at most 6, would be 7"),
        admission.admit("b", 3),
    ):
        pass


def test_bytes_are_bounded_for_all_tenants_together_and_free_again_afterwards() -> None:
    admission = Admission(per_tenant=9, total=9, max_bytes=100)
    with (
        admission.admit("a", 1, 60),
        pytest.raises(QueueFull, match="bytes: at most 100, would be 101"),
        admission.admit("b", 1, 41),
    ):
        pass
    with admission.admit("b", 1, 100):
        pass


def test_rows_are_free_again_after_an_error() -> None:
    admission = Admission(per_tenant=4, total=4, max_bytes=BIG)
    with pytest.raises(ValueError, match="inside"), admission.admit("a", 4):
        raise ValueError("inside")
    with admission.admit("b", 4):
        pass


class Name(str):
    """One that can be seen to be gone."""


def test_idle_tenant_takes_no_memory() -> None:
    admission = Admission(per_tenant=4, total=4, max_bytes=BIG)
    name = Name("gone")
    reference = weakref.ref(name)
    with admission.admit(name, 1):
        pass
    del name
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("bound", ["per_tenant", "total", "max_bytes"])
def test_who_comes_back_when_told_is_admitted_amid_a_flood(bound: str) -> None:
    """Ten leave a second, thirty come, of whom a third comes back; the clock is the test's."""
    limits = {"per_tenant": BIG, "total": BIG, "max_bytes": BIG, bound: 40}
    admission = Admission(**limits)
    inside: list[ExitStack] = []  # closed as rows leave
    events: list[tuple[float, int, str]] = [(i / 30, i, "comes") for i in range(900)]
    events += [(i / 10, i, "one leaves") for i in range(300)]
    heapq.heapify(events)
    back: Counter[bool] = Counter()
    while events:
        now, number, event = heapq.heappop(events)
        if event == "one leaves":
            if inside:
                inside.pop(0).close()
            continue
        stack = ExitStack()
        try:
            stack.enter_context(admission.admit("a", 1, 1, key=str(number), now=now))
        except QueueFull as error:
            back[False] += event == "comes back"
            if event == "comes" and number % 3 == 0:
                heapq.heappush(events, (now + (error.retry_after or 0.0), number, "comes back"))
        else:
            inside.append(stack)
            back[True] += event == "comes back"
    assert back.total() > 100
    assert back[True] >= 0.9 * back.total()


def test_room_is_kept_for_who_comes_back_but_not_where_nothing_is_ahead() -> None:
    admission = Admission(per_tenant=4, total=BIG, max_bytes=BIG)
    with admission.admit("a", 2, key="first"):
        with pytest.raises(QueueFull), admission.admit("a", 3, key="second"):
            pass
        with pytest.raises(QueueFull, match="promised"), admission.admit("a", 1, key="third"):
            pass
    with admission.admit("a", 4, key="fourth"):
        pass


def test_who_never_comes_back_is_forgotten() -> None:
    admission = Admission(per_tenant=1, total=BIG, max_bytes=BIG)
    name = Name("gone")
    reference = weakref.ref(name)
    with (
        admission.admit(name, 1, key="first"),
        pytest.raises(QueueFull),
        admission.admit(name, 1, key="second"),
    ):
        pass
    del name
    for _ in range(3):
        with admission.admit("another", 1, key="other", now=1000.0):
            pass
    gc.collect()
    assert reference() is None


class AdmissionMachine(RuleBasedStateMachine):
    """Requests come and go in any order; the rows admitted are always those of the open ones."""

    def __init__(self) -> None:
        super().__init__()
        self.admission = Admission(per_tenant=PER_TENANT, total=TOTAL, max_bytes=BIG)
        self.open: list[tuple[str, int, AbstractContextManager[None]]] = []

    def held(self, tenant: str | None = None) -> int:
        return sum(rows for name, rows, _ in self.open if tenant in (None, name))

    @rule(tenant=st.sampled_from(TENANTS), rows=st.integers(1, PER_TENANT + 1))
    def arrive(self, tenant: str, rows: int) -> None:
        fits = self.held(tenant) + rows <= PER_TENANT and self.held() + rows <= TOTAL
        admitted = self.admission.admit(tenant, rows)
        if fits:
            admitted.__enter__()
            self.open.append((tenant, rows, admitted))
        else:
            with pytest.raises(QueueFull):
                admitted.__enter__()

    @precondition(lambda self: self.open)
    @rule(data=st.data(), fails=st.booleans())
    def leave(self, data: st.DataObject, fails: bool) -> None:
        _, _, admitted = self.open.pop(data.draw(st.integers(0, len(self.open) - 1)))
        if fails:
            error = ValueError("the request failed")
            assert not admitted.__exit__(ValueError, error, None)
        else:
            admitted.__exit__(None, None, None)

    @invariant()
    def what_is_left_is_free_and_no_more(self) -> None:
        for tenant in TENANTS:
            room = min(PER_TENANT - self.held(tenant), TOTAL - self.held())
            if room:
                with self.admission.admit(tenant, room):
                    pass
            with pytest.raises(QueueFull), self.admission.admit(tenant, room + 1):
                pass


TestAdmissionMachine = AdmissionMachine.TestCase
