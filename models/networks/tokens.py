"""Parts that networks for texts share. Padding comes last and is never looked at."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.networks.base import Block


class Attending(Block):
    """A transformer layer that looks at all tokens, and whatever follows it at each of them."""

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        assert mask is not None
        layer, *others = self.parts
        states = layer(states, attention_mask=self.seen(mask))
        for part in others:
            states = part(states)
        return states

    def seen(self, mask: Tensor) -> Tensor:
        """Return which tokens each token looks at, of a shape that fits (n, heads, to, from)."""
        return mask[:, None, None, :].to(torch.bool)


class LookingBack(Attending):
    """A transformer layer where each token looks at those before it and at itself."""

    def seen(self, mask: Tensor) -> Tensor:
        length = mask.shape[1]
        past = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
        return past & super().seen(mask)


class TokenMean(nn.Module):
    """The mean over the tokens that are no padding."""

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        assert mask is not None
        weights = mask.unsqueeze(-1).to(torch.float32)
        return (states.to(torch.float32) * weights).sum(dim=1) / weights.sum(dim=1)


class LastToken(nn.Module):
    """The state of the last token that is no padding: the only one that has seen all others."""

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        assert mask is not None
        last = (mask.sum(dim=1) - 1).view(-1, 1, 1).expand(-1, 1, states.shape[2])
        return states.gather(1, last).squeeze(1).to(torch.float32)
