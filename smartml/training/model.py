"""The whole model, built from a configuration and the fitted inputs and outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from smartml.training.config import FusionConfig
from smartml.training.heads import Fusion, SequenceHead, TargetHead, residual_blocks
from smartml.training.inputs import BytesEncoder, InputEncoder, SequenceEncoder
from smartml.training.outputs import ArrayDecoder, OutputDecoder, SequenceDecoder, TabularDecoder
from smartml.training.readers import Reader, make_reader

# An encoded input or output as the model gets it.
Tensors: TypeAlias = "Tensor | tuple[Tensor, ...]"
# For each output, the answer for each of its targets.
Outputs: TypeAlias = dict[str, dict[str, Tensor]]


@dataclass(frozen=True)
class Mix:
    """Mixup: each sample with a share of itself and the rest of another one's."""

    share: float
    # (B,), int64: whose rest.
    order: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return self.share * x + (1 - self.share) * x[self.order]


class TargetHeads(nn.Module):
    """Heads for the targets of one output, by target."""

    def __init__(self, heads: Mapping[str, nn.Module]) -> None:
        super().__init__()
        self.targets = list(heads)
        self.heads = nn.ModuleList(heads.values())

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {target: head(x) for target, head in zip(self.targets, self.heads, strict=True)}


class Model(nn.Module):
    """Readers of the inputs, their fusion, and heads for the outputs."""

    def __init__(
        self, inputs: Mapping[str, InputEncoder], fusion: FusionConfig, outputs: Mapping[str, OutputDecoder]
    ) -> None:
        super().__init__()
        # Parts are numbered: names of inputs and outputs may hold what torch does not take.
        self.input_names = {name: f"input_{number}" for number, name in enumerate(inputs)}
        self.output_names = {name: f"output_{number}" for number, name in enumerate(outputs)}
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.numbers: dict[str, set[str]] = {}
        for name, decoder in outputs.items():
            if isinstance(decoder, ArrayDecoder):
                self.shapes[name] = decoder.shape
            elif isinstance(decoder, TabularDecoder):
                self.numbers[name] = set(decoder.scales)
        self.sequences = {name for name, it in outputs.items() if isinstance(it, SequenceDecoder)}
        blocks = _count_blocks(inputs, outputs)
        self.readers = nn.ModuleDict({self.input_names[name]: make_reader(it, blocks) for name, it in inputs.items()})
        features = {name: self._reader(name).features for name in inputs}
        joined = sum(places * width for places, width in features.values())
        self.fusion = Fusion(joined, fusion) if len(self.sequences) < len(outputs) else None
        self.heads = nn.ModuleDict()
        for name, decoder in outputs.items():
            if isinstance(decoder, SequenceDecoder):
                head: nn.Module = SequenceHead(decoder, features, self.input_names, blocks)
            else:
                assert self.fusion is not None
                head = _make_head(decoder, self.fusion.size)
            self.heads[self.output_names[name]] = head
        # Of tabular outputs whose losses are weighed by what is learned: log variances, by target.
        self.uncertainties = nn.ParameterDict(
            {
                self.output_names[name]: nn.Parameter(torch.zeros(len(decoder.targets)))
                for name, decoder in outputs.items()
                if isinstance(decoder, TabularDecoder) and decoder.config.output_type_info.uncertainty_weighted_mt_loss
            }
        )

    def _reader(self, name: str) -> Reader:
        return cast(Reader, self.readers[self.input_names[name]])

    def read(self, inputs: Mapping[str, Tensors], mix: Mix | None = None) -> dict[str, Tensor]:
        """Return the features of the inputs; what was embedded is mixed in between."""
        features = {}
        for name in self.input_names:
            x = self._reader(name).embed(inputs[name])
            features[name] = self._reader(name)(x if mix is None else mix(x))
        return features

    def answer(self, features: Mapping[str, Tensor], texts: Mapping[str, Tensor], mix: Mix | None = None) -> Outputs:
        """Return what the heads say to features; `texts` are those so far, of outputs that are sequences."""
        outputs: Outputs = {}
        fused = None if self.fusion is None else self.fusion(features)
        for name, key in self.output_names.items():
            head = self.heads[key]
            if name in self.sequences:
                outputs[name] = {name: self.next_tokens(name, features, texts[name], mix)}
            elif name in self.shapes:
                outputs[name] = {name: head(fused).unflatten(1, self.shapes[name])}
            else:
                numbers = self.numbers[name]
                outputs[name] = {target: y[:, 0] if target in numbers else y for target, y in head(fused).items()}
        return outputs

    def next_tokens(self, name: str, features: Mapping[str, Tensor], text: Tensor, mix: Mix | None = None) -> Tensor:
        """Return logits of each next token of an output that is a sequence: (B, T, V)."""
        head = cast(SequenceHead, self.heads[self.output_names[name]])
        x = head.embed(text)
        return cast(Tensor, head(x if mix is None else mix(x), features))

    def forward(self, inputs: Mapping[str, Tensors], texts: Mapping[str, Tensor], mix: Mix | None = None) -> Outputs:
        return self.answer(self.read(inputs, mix), texts, mix)


def _count_blocks(inputs: Mapping[str, InputEncoder], outputs: Mapping[str, OutputDecoder]) -> int:
    sequences: list[Any] = [it.config for it in inputs.values() if isinstance(it, BytesEncoder | SequenceEncoder)]
    readers: int = sum(config.settings.blocks.num_layers for config in sequences)
    heads = [it.config for it in outputs.values() if isinstance(it, SequenceDecoder)]
    generators: int = sum(2 * config.settings.blocks.num_layers for config in heads)
    return max(1, readers + generators)


def _make_head(decoder: OutputDecoder, inputs: int) -> nn.Module:
    """Make the head of an output that is not a sequence."""
    settings = decoder.config.settings
    if isinstance(decoder, ArrayDecoder):
        size = torch.Size(decoder.shape).numel()
        return nn.Linear(inputs, size) if settings.model_type == "linear" else TargetHead(inputs, size, settings)
    assert isinstance(decoder, TabularDecoder)
    sizes = {target: decoder.size(target) for target in decoder.targets}
    if settings.model_type == "linear":
        return TargetHeads({target: nn.Linear(inputs, size) for target, size in sizes.items()})
    shared = residual_blocks(inputs, settings) if settings.model_type == "shared_mlp_residual" else None
    return TargetHeads({target: TargetHead(inputs, size, settings, shared) for target, size in sizes.items()})
