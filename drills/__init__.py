"""Bounded attacks on a running server: under each of them, what is promised must hold.

A drill is a module directly in this package. It has

- ``PROMISE``: one sentence that says what must hold;
- ``SECONDS`` and ``LONG_SECONDS``: what its short and its long form may take on two cores. A drill
  that takes longer has failed. The short forms of all may take 900 s together;
- ``async def run(drill: Drill) -> Outcome``.

`drills.common.drill` has `Drill` (a folder of its own, random numbers, short or long, the slack of
its bounds) and `Outcome` (what was done, how often, what was violated, or why it was skipped). What
several drills share lies in `drills.common`; servers are started by `tests.e2e.processes`. Whatever
a drill starts has ended when it returns, also when it is cancelled. A drill judges promises, never
speed.
"""
