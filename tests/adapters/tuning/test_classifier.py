"""The classifier that a tuning starts from: what the head says, however embeddings move."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from adapters.fronts import Front
from adapters.spec import FRONTS
from adapters.tuning.classifier import LEAST_ROWS, Classifier

DIM, CLASSES = 6, 3


def embeddings(seed: int, rows: int = 40) -> torch.Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.normal(3, 2, (rows, DIM)).astype(np.float32))


def classifier(kind: str = "standardise", *, unit: bool = False) -> Classifier:
    random = np.random.default_rng(1)
    front = Front.of(kind, embeddings(0).numpy(), unit=unit)
    weight = random.standard_normal((CLASSES, front.feature_count))
    return Classifier(front, weight, random.standard_normal(CLASSES), 2.0).eval()


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("kind", FRONTS)
def test_before_any_step_it_says_what_the_head_says(kind: str, unit: bool) -> None:
    found = classifier(kind, unit=unit)
    front = Front.of(kind, embeddings(0).numpy(), unit=unit)
    rows = embeddings(2)
    wanted = front.features(rows.numpy()) @ found.weight.detach().double().numpy().T
    wanted += found.bias.detach().double().numpy()
    np.testing.assert_allclose(found(rows).detach().numpy(), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", ["standardise", "projection"])
def test_what_moves_all_embeddings_together_changes_no_logits(kind: str) -> None:
    still, moved = classifier(kind).train(), classifier(kind).train()
    rows = embeddings(2)
    wanted = still(rows).detach()
    torch.testing.assert_close(moved(5 * rows - 40).detach(), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("kind", FRONTS)
def test_with_its_front_fitted_to_some_examples_it_scores_others_alone(kind: str) -> None:
    found, moved = classifier(kind), 4 * embeddings(0) + 7
    found.fit_front(moved)
    together = found(moved).detach()
    alone = torch.cat([found(row[None]).detach() for row in moved])
    torch.testing.assert_close(alone, together, rtol=1e-4, atol=1e-4)
    if kind == "standardise":
        torch.testing.assert_close(together, classifier()(embeddings(0)), rtol=1e-3, atol=1e-3)


def test_too_few_embeddings_leave_the_front_as_it_is() -> None:
    found, rows = classifier(), embeddings(2, LEAST_ROWS - 1)
    wanted = found(rows).detach()
    found.fit_front(rows)
    torch.testing.assert_close(found(rows).detach(), wanted)
    torch.testing.assert_close(found.train()(rows).detach(), wanted)


def test_embeddings_that_are_all_alike_give_finite_gradients() -> None:
    found, rows = classifier().train(), torch.ones(LEAST_ROWS, DIM, requires_grad=True)
    found(rows).sum().backward()
    assert rows.grad is not None
    assert torch.isfinite(rows.grad).all()
