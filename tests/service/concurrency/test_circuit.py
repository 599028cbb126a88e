"""What does not answer is left alone for a while, longer each time, and then tried by one."""

from __future__ import annotations

from service.concurrency.circuit import FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS, Circuit


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_pause_grows_to_its_longest_and_ends_with_a_success() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    pauses: list[float] = []
    for _ in range(8):
        entered = circuit.enter()
        assert entered is not None
        assert circuit.fail(entered) == (not pauses)
        began = clock.now
        while circuit.blocked:
            assert circuit.enter() is None
            clock.now += 0.5
        pauses.append(clock.now - began)
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert max(pauses) == LONGEST_PAUSE_SECONDS
    assert circuit.enter() is not None
    assert circuit.enter() is None  # one tries at a time
    assert circuit.succeed()
    assert circuit.closed
    assert not circuit.succeed()


def test_failures_of_requests_that_were_under_way_together_count_once() -> None:
    clock = Clock()
    circuit = Circuit(clock)
    entered = [circuit.enter() for _ in range(10)]
    assert [circuit.fail(number) for number in entered if number is not None].count(True) == 1
    clock.now = FIRST_PAUSE_SECONDS
    assert not circuit.blocked
