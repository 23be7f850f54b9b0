"""The parts of a model that read one input each: raw tensors to embedded ones, and these to features.

Features are (B, N, E): N places, or one, of E numbers.
"""

from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from smartml.training.input_config import ArraySettings
from smartml.training.inputs import (
    ArrayEncoder,
    BytesEncoder,
    ImageEncoder,
    InputEncoder,
    SequenceEncoder,
    TabularEncoder,
)
from smartml.training.transformer import SequenceReader

# Convolutions halve an array until its shortest axis is so long, in so many blocks at most.
_SHORTEST, _MOST_BLOCKS = 4, 4
# Groups of channels that are normalised together.
_GROUPS = 8
_DROPOUT = 0.1


class Reader(Protocol):
    """Reads one input."""

    # Places and numbers of each.
    features: tuple[int, int]

    def embed(self, encoded: Any) -> Tensor:
        """Return what mixup mixes: (B, ...), float."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return features of what was embedded."""


class TabularReader(nn.Module):
    """Embeddings of categories beside numbers."""

    def __init__(self, categories: list[int], numbers: int, has_layer: bool) -> None:
        super().__init__()
        # As wide as the root of their number.
        dims = [min(50, round(count**0.5) + 1) for count in categories]
        self.embeddings = nn.ModuleList(
            nn.Embedding(1 + count, dim) for count, dim in zip(categories, dims, strict=True)
        )
        width = sum(dims) + numbers
        self.layer = nn.Linear(width, width) if has_layer else nn.Identity()
        self.features = (1, width)

    def embed(self, encoded: tuple[Tensor, Tensor]) -> Tensor:
        codes, numbers = encoded
        return torch.cat([*(it(codes[:, i]) for i, it in enumerate(self.embeddings)), numbers], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.layer(x))[:, None]  # (B, 1, E)


class LinearReader(nn.Module):
    """One layer over all numbers of an array."""

    def __init__(self, shape: tuple[int, ...], settings: ArraySettings) -> None:
        super().__init__()
        self.layer = nn.Linear(torch.Size(shape).numel(), settings.output_dim)
        self.features = (1, settings.output_dim)

    def embed(self, encoded: Tensor) -> Tensor:
        return encoded

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.layer(x.flatten(1)))[:, None]


class ConvolutionReader(nn.Module):
    """Residual blocks of convolutions over one to three axes, after that of channels."""

    def __init__(self, shape: tuple[int, ...], settings: ArraySettings) -> None:
        super().__init__()
        # An array of one or two axes has no channels: it is one.
        self.is_plain = len(shape) < 3
        channels, *axes = (1, *shape) if self.is_plain else shape
        count = _block_count(axes) if settings.num_blocks == "auto" else settings.num_blocks
        convolution = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(axes) - 1]
        layers: list[nn.Module] = [convolution(channels, settings.channels, 3, padding=1)]
        width = settings.channels
        for _ in range(count):
            layers.append(ConvolutionBlock(convolution, width, 2 * width))
            width *= 2
            axes = [(length + 1) // 2 for length in axes]
        self.layers = nn.Sequential(*layers)
        self.project = nn.Linear(width * torch.Size(axes).numel(), settings.output_dim)
        self.features = (1, settings.output_dim)

    def embed(self, encoded: Tensor) -> Tensor:
        return encoded[:, None] if self.is_plain else encoded

    def forward(self, x: Tensor) -> Tensor:
        return cast(Tensor, self.project(self.layers(x).flatten(1)))[:, None]


def _block_count(axes: list[int]) -> int:
    count, shortest = 0, min(axes)
    while shortest > _SHORTEST and count < _MOST_BLOCKS:
        count, shortest = count + 1, (shortest + 1) // 2
    return count


class ConvolutionBlock(nn.Module):
    """Two convolutions beside a shortcut, halving each axis."""

    def __init__(self, convolution: type[nn.Conv1d | nn.Conv2d | nn.Conv3d], inputs: int, outputs: int) -> None:
        super().__init__()
        self.first = convolution(inputs, outputs, 3, stride=2, padding=1)
        self.second = convolution(outputs, outputs, 3, padding=1)
        self.shortcut = convolution(inputs, outputs, 1, stride=2)
        self.first_norm, self.second_norm = _norm(inputs), _norm(outputs)
        self.dropout = nn.Dropout(_DROPOUT)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(nn.functional.gelu(self.first_norm(x)))
        y = self.second(self.dropout(nn.functional.gelu(self.second_norm(y))))
        return cast(Tensor, self.shortcut(x) + y)


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(_GROUPS if channels % _GROUPS == 0 else 1, channels)


def make_reader(encoder: InputEncoder, blocks: int) -> nn.Module:
    """Make the reader of an input; `blocks` is the number of transformer blocks of the whole model."""
    settings = encoder.config.settings
    if isinstance(encoder, BytesEncoder | SequenceEncoder):
        return SequenceReader(encoder.size, encoder.length, settings, blocks)
    if isinstance(encoder, TabularEncoder):
        return TabularReader([len(it.names) for it in encoder.categories], len(encoder.scales), settings.fc_layer)
    assert isinstance(encoder, ArrayEncoder | ImageEncoder)
    kind = LinearReader if settings.model_type == "linear" else ConvolutionReader
    return kind(encoder.shape, settings)
