"""Transformers over sequences: blocks, windows, positions.

Shapes: B batch, T places, E embedding, H heads, W windows.
"""

import math
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from smartml.training.input_config import TransformerBlocks, TransformerSettings

# What residual branches are scaled by at first (Touvron et al., arXiv 2103.17239), channel by channel.
_FIRST_SCALE = 1e-5
# Deviation of output projections, over the root of twice the number of blocks (Radford et al. 2019, section 2.3).
_PROJECTION_DEVIATION = 0.02
_ROTARY_BASE = 10_000.0
# Embeddings begin within this of 0.
_EMBEDDING_RANGE = 0.1


class Attention(nn.Module):
    """Attention of several heads with rotary positions (Su et al., arXiv 2104.09864), without biases."""

    def __init__(self, dim: int, heads: int, dropout: float, is_causal: bool, blocks: int) -> None:
        super().__init__()
        self.heads, self.dropout, self.is_causal = heads, dropout, is_causal
        self.queries_keys_values = nn.Linear(dim, 3 * dim, bias=False)
        self.project = _projection(dim, dim, blocks)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            self.queries_keys_values(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        )  # (B, H, T, E/H)
        q, k = rotated(q), rotated(k)
        dropout = self.dropout if self.training else 0.0
        seen = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=self.is_causal)
        return cast(Tensor, self.project(seen.transpose(1, 2).flatten(2)))  # (B, T, E)


def rotated(x: Tensor) -> Tensor:
    """Turn pairs of channels by angles that grow with the place: (B, H, T, C), C even."""
    half = x.shape[-1] // 2
    speeds = _ROTARY_BASE ** (-torch.arange(half, device=x.device) / half)
    angles = torch.arange(x.shape[-2], device=x.device)[:, None] * speeds  # (T, C/2)
    cosines, sines = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    first, second = x[..., :half], x[..., half:]
    return torch.cat([first * cosines - second * sines, second * cosines + first * sines], dim=-1)


class CrossAttention(nn.Module):
    """Let places of one sequence look at those of another."""

    def __init__(self, dim: int, context_dim: int, heads: int, dropout: float, blocks: int) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm, self.context_norm = nn.RMSNorm(dim), nn.RMSNorm(context_dim)
        self.queries = nn.Linear(dim, dim, bias=False)
        self.keys_values = nn.Linear(context_dim, 2 * dim, bias=False)
        self.project = _projection(dim, dim, blocks)

    def forward(self, x: Tensor, context: Tensor) -> Tensor:
        q = self.queries(self.norm(x)).unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, H, T, E/H)
        k, v = self.keys_values(self.context_norm(context)).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        seen = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropout)
        return x + cast(Tensor, self.project(seen.transpose(1, 2).flatten(2)))  # (B, T, E)


class FeedForward(nn.Module):
    """A gated layer, w3(silu(w1 x) * w2 x) (Shazeer, arXiv 2002.05202), without biases."""

    def __init__(self, dim: int, hidden: int, dropout: float, blocks: int) -> None:
        super().__init__()
        self.w1, self.w2 = nn.Linear(dim, hidden, bias=False), nn.Linear(dim, hidden, bias=False)
        self.w3 = _projection(hidden, dim, blocks)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.w3(self.dropout(functional.silu(self.w1(x)) * self.w2(x))))


def _projection(inputs: int, outputs: int, blocks: int) -> nn.Linear:
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=_PROJECTION_DEVIATION / math.sqrt(2 * blocks))
    return layer


class Block(nn.Module):
    """Attention and a feed-forward layer, each after a norm and beside what goes past it."""

    def __init__(self, dim: int, settings: TransformerBlocks, is_causal: bool, blocks: int) -> None:
        super().__init__()
        hidden = 4 * dim if settings.dim_feedforward == "auto" else settings.dim_feedforward
        self.attention_norm, self.forward_norm = nn.RMSNorm(dim), nn.RMSNorm(dim)
        self.attention = Attention(dim, settings.num_heads, settings.dropout, is_causal, blocks)
        self.feed_forward = FeedForward(dim, hidden, settings.dropout, blocks)
        self.attention_scale = nn.Parameter(torch.full((dim,), _FIRST_SCALE))
        self.forward_scale = nn.Parameter(torch.full((dim,), _FIRST_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention_scale * self.attention(self.attention_norm(x))
        return cast(Tensor, x + self.forward_scale * self.feed_forward(self.forward_norm(x)))


class Blocks(nn.Module):
    """A stack of blocks."""

    def __init__(self, dim: int, settings: TransformerBlocks, is_causal: bool, blocks: int) -> None:
        super().__init__()
        self.stack = nn.Sequential(*(Block(dim, settings, is_causal, blocks) for _ in range(settings.num_layers)))

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.stack(x))


class Embedding(nn.Module):
    """Tokens to vectors, with positions."""

    def __init__(self, size: int, dim: int, length: int, position: str, dropout: float) -> None:
        super().__init__()
        self.tokens = nn.Embedding(size, dim)
        nn.init.uniform_(self.tokens.weight, -_EMBEDDING_RANGE, _EMBEDDING_RANGE)
        if position == "embed":
            self.positions = nn.Parameter(torch.randn(length, dim))
        else:
            self.register_buffer("positions", sines(length, dim), persistent=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.tokens(tokens) * math.sqrt(self.tokens.embedding_dim)  # (B, T, E)
        return cast(Tensor, self.dropout(x + self.positions[: tokens.shape[1]]))


def sines(length: int, dim: int) -> Tensor:
    """Return fixed positions (Vaswani et al., arXiv 1706.03762, section 3.5): (length, dim)."""
    speeds = torch.exp(torch.arange(0, dim, 2) * (-math.log(10_000.0) / dim))
    angles = torch.arange(length)[:, None] * speeds
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :dim]


class SequenceReader(nn.Module):
    """Tokens to features, the same blocks on each window by itself: a local transformer.

    Features: (B, W, E) with pooling, else (B, padded length, E).
    """

    def __init__(self, size: int, length: int, settings: TransformerSettings, blocks: int) -> None:
        super().__init__()
        self.window = settings.window_size or length
        self.pool = settings.pool
        dim = settings.embedding_dim
        self.embedding = Embedding(size, dim, length, settings.position, settings.position_dropout)
        self.blocks = Blocks(dim, settings.blocks, settings.masked, blocks)
        windows = math.ceil(length / self.window)
        self.features = (windows if self.pool in ("avg", "max") else windows * self.window, dim)

    def embed(self, tokens: Tensor) -> Tensor:
        return cast(Tensor, self.embedding(tokens))

    def forward(self, x: Tensor) -> Tensor:
        missing = -x.shape[1] % self.window
        x = functional.pad(x, (0, 0, missing, 0))
        windows = x.reshape(-1, self.window, x.shape[2])  # (B W, window, E)
        x = self.blocks(windows).reshape(x.shape[0], -1, self.window, x.shape[2])  # (B, W, window, E)
        if self.pool == "avg":
            return x.mean(2)
        return x.amax(2) if self.pool == "max" else x.flatten(1, 2)
