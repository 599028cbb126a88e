"""What is tuned, as the tuning process builds it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import adapters
from adapters.tuning import tune
from models import load_backbone_network
from service.tuning.network import LoadedTunable, load_tunable

pytestmark = pytest.mark.tuning

BACKBONE = "efficientnet/lite0"
LABELS = ["plain", "striped"] * 6


class Rows:
    """What enters the network for twelve small pictures."""

    views = 0

    def __init__(self, network: LoadedTunable, *, whole: bool) -> None:
        pixels = torch.rand((12, 64, 64, 3), generator=torch.Generator().manual_seed(0))
        pixels[1::2, :, ::8] += 1
        with torch.inference_mode():
            states = pixels if whole else network.network.prefix(pixels=pixels)
            self.embeddings = network.network(pixels=pixels).numpy()
        self.states = states.numpy()

    def __len__(self) -> int:
        return len(self.states)

    def rows(
        self, examples: NDArray[np.intp], views: NDArray[np.intp]
    ) -> tuple[NDArray[np.float32], None]:
        return self.states[examples], None


def load(*, whole: bool) -> LoadedTunable:
    mark = load_backbone_network(BACKBONE, device="cpu").fingerprint
    return load_tunable(
        BACKBONE, mark, whole=whole, engine="auto", device="cpu", catalogue=None, offline=True
    )


@pytest.mark.parametrize("strategy", ["last_block", "full"])
def test_tuning_leaves_weights_and_statistics_of_the_shared_backbone_alone(strategy: str) -> None:
    whole = strategy == "full"
    loaded = load(whole=whole)
    before, rows = loaded.digest(), Rows(loaded, whole=whole)
    spec = adapters.HeadSpec(
        family="ridge", fine_tune=adapters.FineTune(strategy, max_epochs=1, learning_rate=0.01)
    )
    tune(
        loaded.module,
        rows,
        LABELS,
        spec,
        base=adapters.fit(rows.embeddings, LABELS, spec, fingerprint="frozen"),
        embeddings=rows.embeddings,
        name=lambda tensors: "tuned",
        clock=lambda: 0.0,
    )
    assert loaded.digest() == before


@pytest.mark.parametrize("name", ["conv_stem.weight", "running_mean"])
def test_digest_of_a_backbone_shows_changed_weights_and_statistics(name: str) -> None:
    loaded = load(whole=False)
    before = loaded.digest()
    tensors = dict(loaded.network.named_tensors())
    key = next(key for key in tensors if name.split(".")[-1] in key)
    with torch.inference_mode():
        tensors[key].view(-1)[0] += 1
    assert loaded.digest() != before
