"""The decoder of ``speed.py``'s rows, as torch runs it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import DynamicCache, LlamaConfig, LlamaForCausalLM

DECODER = LlamaConfig(
    hidden_size=1024,
    num_hidden_layers=16,
    num_attention_heads=16,
    num_key_value_heads=4,
    intermediate_size=2816,
    vocab_size=32000,
    max_position_embeddings=2048,
)


class Decoder(nn.Module):
    """A decoder that reads a prompt once, and then the tokens that follow it."""

    def __init__(self, steps: int) -> None:
        super().__init__()
        self.trunk = LlamaForCausalLM(DECODER).eval()
        self.steps = steps
        self.seen: Any = None

    def forward(self, ids: Tensor) -> Tensor:
        if self.steps == 0:
            return self.trunk(ids, use_cache=True, logits_to_keep=1).logits
        prompt = ids.shape[1] - self.steps
        if self.seen is None:
            self.seen = DynamicCache(config=DECODER)
            self.trunk(ids[:, :prompt], past_key_values=self.seen, logits_to_keep=1)
        else:
            self.seen.crop(-self.steps)  # forgets what the last call read
        for i in range(prompt, ids.shape[1]):
            out = self.trunk(ids[:, i : i + 1], past_key_values=self.seen)
        return out.logits
