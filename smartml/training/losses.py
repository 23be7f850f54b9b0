"""How wrong a model is, target by target; what is missing is not counted."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias, cast

import torch
from torch import Tensor
from torch.nn import functional

from smartml.training.batches import Batch
from smartml.training.model import Mix, Model, Outputs
from smartml.training.outputs import ArrayDecoder, OutputDecoder, SequenceDecoder, TabularDecoder
from smartml.training.tokenization import PAD

# By output and target.
Losses: TypeAlias = dict[tuple[str, str], Tensor]

_ELEMENTWISE = {
    "L1Loss": functional.l1_loss,
    "MSELoss": functional.mse_loss,
    "SmoothL1Loss": functional.smooth_l1_loss,
    "l1": functional.l1_loss,
    "mse": functional.mse_loss,
    "smooth_l1": functional.smooth_l1_loss,
}


def find_losses(
    outputs: Outputs, batch: Batch, decoders: Mapping[str, OutputDecoder], mix: Mix | None = None
) -> Losses:
    """Return the mean loss of each target over the samples where it is known; 0 where it is known of none."""
    losses = _find(outputs, batch, decoders)
    if mix is None:
        return losses
    order = mix.order
    others = {
        name: tuple(part[order] for part in it) if isinstance(it, tuple) else it[order]
        for name, it in batch.targets.items()
    }
    rest = _find(outputs, replace(batch, targets=others), decoders)
    return {key: mix.share * loss + (1 - mix.share) * rest[key] for key, loss in losses.items()}


def _find(outputs: Outputs, batch: Batch, decoders: Mapping[str, OutputDecoder]) -> Losses:
    losses: Losses = {}
    for name, decoder in decoders.items():
        answers, truth = outputs[name], batch.targets[name]
        if isinstance(decoder, TabularDecoder):
            assert isinstance(truth, tuple)
            losses |= {(name, target): it for target, it in _tabular(decoder, answers, *truth).items()}
        elif isinstance(decoder, SequenceDecoder):
            logits, tokens = answers[name].float().flatten(0, 1), cast(Tensor, truth).flatten()
            total = functional.cross_entropy(logits, tokens, ignore_index=PAD, reduction="sum")
            losses[name, name] = total / (tokens != PAD).sum().clamp(min=1)
        else:
            assert isinstance(decoder, ArrayDecoder)
            losses[name, name] = _elementwise(decoder.config.output_type_info.loss, answers[name], cast(Tensor, truth))
    return losses


def _tabular(
    decoder: TabularDecoder, answers: Mapping[str, Tensor], codes: Tensor, numbers: Tensor
) -> dict[str, Tensor]:
    info = decoder.config.output_type_info
    losses = {}
    for place, target in enumerate(decoder.categories):
        truth, answer = codes[:, place], answers[target].float()
        known = truth >= 0
        if decoder.has_one_logit:
            smooth = (truth * (1 - info.cat_label_smoothing) + info.cat_label_smoothing / 2).float()
            each = functional.binary_cross_entropy_with_logits(answer[:, 0], smooth, reduction="none")
            total = (each * known).sum()
        else:
            total = functional.cross_entropy(
                answer, truth, ignore_index=-1, label_smoothing=info.cat_label_smoothing, reduction="sum"
            )
        losses[target] = total / known.sum().clamp(min=1)
    for place, target in enumerate(decoder.scales):
        losses[target] = _elementwise(info.con_loss_name, answers[target], numbers[:, place])
    return losses


def _elementwise(kind: str, answer: Tensor, truth: Tensor) -> Tensor:
    known = ~truth.isnan()
    each = _ELEMENTWISE[kind](answer.float(), torch.where(known, truth, 0), reduction="none")
    return (each * known).sum() / known.sum().clamp(min=1)


def average_loss(losses: Losses, model: Model, decoders: Mapping[str, OutputDecoder]) -> Tensor:
    """Return what training makes smaller: the mean over all targets of all outputs.

    Where an output's targets are weighed by what is learned, each loss is exp(-s) loss + s, with its own s (Kendall et
    al., arXiv 1705.07115, equation 7, with s for log of the squared deviation).
    """
    weighed = []
    for (name, target), loss in losses.items():
        key = model.output_names[name]
        if key in model.uncertainties:
            s = model.uncertainties[key][decoders[name].targets.index(target)]
            loss = torch.exp(-s) * loss + s
        weighed.append(loss)
    return torch.stack(weighed).mean()
