"""Learning a head from examples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from adapters.calibration import fit_temperature
from adapters.estimate import estimate
from adapters.examples import Examples
from adapters.families import REGISTRY, Family, Solution
from adapters.head import Head
from adapters.problem import Problem, Standardisation
from adapters.report import Candidate, ClassReport, Estimate, Report
from adapters.spec import AUTO, FAMILIES, HeadSpec

MAX_AUTO_COST = 3e11
"""Floating point operations beyond which "auto" leaves out all but the cheapest family."""


@dataclass(frozen=True, eq=False)
class Fitted:
    """A trained head and what is known about it."""

    head: Head
    report: Report


@dataclass(frozen=True, eq=False)
class _Contender:
    """A family's solution, calibrated and estimated."""

    family: str
    solution: Solution
    temperature: float
    estimate: Estimate


def fit(
    embeddings: ArrayLike,
    labels: Sequence[str],
    spec: HeadSpec | None = None,
    *,
    fingerprint: str,
    progress: Callable[[float, str], None] | None = None,
) -> Fitted:
    """Train a head, calibrate it and estimate how good it is.

    The order of the examples does not matter. With the family "auto", the one with the lowest
    held-out log-loss is taken; families whose cost is out of proportion are left out (`Candidate`).

    Args:
        embeddings: numbers of shape (n, dim), as the backbone returned them.
        labels: one per embedding; two different ones and two examples of each at least.
        spec: what to train; the default is `HeadSpec()`.
        fingerprint: of the backbone.
        progress: called with the share that is done, from 0 to 1, and the phase in words.

    Raises:
        InvalidExamples: if no head can be learned from the examples.
    """
    spec = spec or HeadSpec()
    tell = progress or (lambda share, phase: None)
    tell(0.0, "checking examples")
    examples = Examples.of(embeddings, labels)
    tell(0.05, "decomposing embeddings")
    front = Standardisation.of(examples.embeddings)
    problem = Problem.of(examples, front, spec.seed)
    families = _families(spec, problem)
    contenders = []
    for index, family in enumerate(families):

        def forward(done: float, name: str = family.name, index: int = index) -> None:
            tell(0.2 + 0.8 * (index + done) / len(families), f"fitting {name}")

        forward(0.0)
        contenders.append(_contend(family, problem, spec.l2, forward))
    chosen = min(contenders, key=lambda contender: contender.estimate.log_loss)
    head = _head(chosen, front, examples.labels, fingerprint)
    tell(1.0, "done")
    return Fitted(head, _report(spec, examples, contenders, chosen, head))


def _families(spec: HeadSpec, problem: Problem) -> list[Family]:
    """Return the families to fit; of those too costly for "auto", the cheapest is always kept."""
    if spec.family != AUTO:
        return [REGISTRY[spec.family]]

    def cost(family: Family) -> float:
        return family.cost(problem.n, problem.rank, problem.classes)

    families = [REGISTRY[name] for name in FAMILIES]
    cheapest = min(families, key=cost)
    return [f for f in families if f is cheapest or cost(f) <= MAX_AUTO_COST]


def _contend(
    family: Family, problem: Problem, l2: float | None, progress: Callable[[float], None]
) -> _Contender:
    solution = family.solve(problem, l2, progress)
    temperature = fit_temperature(solution.held_out, problem.targets)
    guess = estimate(solution.held_out, problem.targets, temperature, solution.method)
    return _Contender(family.name, solution, temperature, guess)


def _head(
    chosen: _Contender, front: Standardisation, labels: tuple[str, ...], fingerprint: str
) -> Head:
    weight, bias = front.fold(chosen.solution.weight, chosen.solution.bias)
    return Head(
        family=chosen.family,
        labels=labels,
        weight=weight.astype(np.float32),
        bias=bias.astype(np.float32),
        fingerprint=fingerprint,
        temperature=chosen.temperature,
        l2=chosen.solution.l2,
    )


def _report(
    spec: HeadSpec,
    examples: Examples,
    contenders: Sequence[_Contender],
    chosen: _Contender,
    head: Head,
) -> Report:
    fitted = {c.family: c for c in contenders}
    considered = FAMILIES if spec.family == AUTO else (spec.family,)
    candidates = tuple(
        Candidate(name, fitted[name].solution.l2, fitted[name].estimate, name == chosen.family)
        if name in fitted
        else Candidate(name, None, None, False)
        for name in considered
    )
    return Report(
        family=chosen.family,
        spec=spec,
        fingerprint=head.fingerprint,
        example_count=len(examples.targets),
        classes=tuple(
            ClassReport(label, int(count))
            for label, count in zip(examples.labels, examples.counts, strict=True)
        ),
        estimate=chosen.estimate,
        l2=chosen.solution.l2,
        temperature=chosen.temperature,
        candidates=candidates,
    )
