"""The parts of a model after its readers: fusion of all features into one, and the heads that answer.

Shapes: B batch, F fused features, T places, E embedding, V vocabulary.
"""

import math
from collections.abc import Mapping
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from smartml.training.config import FusionConfig, ResidualSettings
from smartml.training.output_config import GeneratorSettings
from smartml.training.outputs import SequenceDecoder
from smartml.training.transformer import Blocks, CrossAttention, Embedding

# Cross-attention has so many heads, or as many of them as the embedding has room for.
_CROSS_HEADS = 8


class ResidualBlock(nn.Module):
    """Two fully connected layers beside a shortcut, which some samples take alone in training."""

    def __init__(self, inputs: int, outputs: int, settings: ResidualSettings) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(inputs)
        self.first, self.second = nn.Linear(inputs, outputs), nn.Linear(outputs, outputs)
        self.dropout = nn.Dropout(settings.rb_do)
        self.shortcut = nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs, bias=False)
        self.skipped = settings.stochastic_depth_p

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(self.dropout(functional.gelu(self.first(self.norm(x)))))
        if self.training and self.skipped:
            kept = torch.rand(len(x), 1, device=x.device) >= self.skipped
            y = y * kept / (1 - self.skipped)
        return cast(Tensor, self.shortcut(x) + y)


def residual_blocks(inputs: int, settings: ResidualSettings) -> nn.Sequential:
    """Make a stack of residual blocks from `inputs` to `fc_task_dim` features."""
    width = settings.fc_task_dim
    return nn.Sequential(
        *(ResidualBlock(inputs if number == 0 else width, width, settings) for number in range(settings.layers[0]))
    )


class Fusion(nn.Module):
    """Joined features of all inputs to one vector."""

    def __init__(self, inputs: int, config: FusionConfig) -> None:
        super().__init__()
        # Pass-through is for the sequences of a mixed model; its other outputs get what identity gives.
        self.is_residual = config.model_type == "mlp-residual"
        self.layers = residual_blocks(inputs, config.settings) if self.is_residual else nn.Identity()
        self.size = config.settings.fc_task_dim if self.is_residual else inputs

    def forward(self, features: Mapping[str, Tensor]) -> Tensor:
        joined = torch.cat([x.flatten(1) for x in features.values()], dim=1)
        return cast(Tensor, self.layers(joined))  # (B, F)


class TargetHead(nn.Module):
    """A vector to the numbers of one target."""

    def __init__(self, inputs: int, outputs: int, settings: ResidualSettings, shared: nn.Module | None = None) -> None:
        super().__init__()
        self.blocks = residual_blocks(inputs, settings) if shared is None else shared
        width = settings.fc_task_dim
        self.last = nn.Sequential(nn.RMSNorm(width), nn.GELU(), nn.Dropout(settings.fc_do), nn.Linear(width, outputs))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.last(self.blocks(x)))


class SequenceHead(nn.Module):
    """The text so far, and the features of the inputs, to logits of each next token: (B, T, V)."""

    def __init__(
        self, decoder: SequenceDecoder, features: Mapping[str, tuple[int, int]], names: Mapping[str, str], blocks: int
    ) -> None:
        super().__init__()
        settings: GeneratorSettings = decoder.config.settings
        dim = settings.embedding_dim
        self.names = dict(names)
        self.embedding = Embedding(decoder.size, dim, decoder.length, settings.position, settings.position_dropout)
        self.before = Blocks(dim, settings.blocks, True, blocks)
        heads = math.gcd(_CROSS_HEADS, dim)
        self.looks = nn.ModuleDict(
            {
                self.names[name]: CrossAttention(dim, width, heads, settings.blocks.dropout, blocks)
                for name, (_, width) in features.items()
            }
        )
        self.after = Blocks(dim, settings.blocks, True, blocks)
        self.norm = nn.RMSNorm(dim)

    def embed(self, tokens: Tensor) -> Tensor:
        return cast(Tensor, self.embedding(tokens))

    def forward(self, x: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        x = self.before(x)  # (B, T, E)
        for name, context in features.items():
            x = self.looks[self.names[name]](x, context)
        x = self.norm(self.after(x))
        # The last layer is the embedding itself (Press and Wolf, arXiv 1608.05859).
        return functional.linear(x, self.embedding.tokens.weight)
