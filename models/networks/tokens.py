"""Parts that networks for texts share. Padding comes last and is never attended to."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from models.networks.base import Block


class AttentionBlock(Block):
    """A transformer layer whose tokens attend to all tokens, and the modules after it."""

    def forward(self, states: Tensor, mask: Tensor | None = None) -> Tensor:
        assert mask is not None
        layer, *others = self.parts
        states = layer(states, attention_mask=self.attention_mask(mask))
        for part in others:
            states = part(states)
        return states

    def attention_mask(self, mask: Tensor) -> Tensor:
        """Return which tokens each attends to, of a shape that fits (n, heads, to, from)."""
        return mask[:, None, None, :].to(torch.bool)


class CausalBlock(AttentionBlock):
    """A transformer layer whose tokens attend to those before them and to themselves."""

    def attention_mask(self, mask: Tensor) -> Tensor:
        length = mask.shape[1]
        past = torch.ones(length, length, dtype=torch.bool, device=mask.device).tril()
        return past & super().attention_mask(mask)


class TokenMean(nn.Module):
    """The mean over the tokens that are no padding."""

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        assert mask is not None
        weights = mask.unsqueeze(-1).to(torch.float32)
        return (states.to(torch.float32) * weights).sum(dim=1) / weights.sum(dim=1)


class LastToken(nn.Module):
    """The state of the last token that is no padding: the only one that attends to all others."""

    def forward(self, states: Tensor, mask: Tensor | None) -> Tensor:
        assert mask is not None
        last = (mask.sum(dim=1) - 1).view(-1, 1, 1).expand(-1, 1, states.shape[2])
        return states.gather(1, last).squeeze(1).to(torch.float32)
