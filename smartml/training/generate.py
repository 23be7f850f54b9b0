"""Text generated token after token."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from smartml.training.output_config import SamplingConfig
from smartml.training.tokenization import BOS, EOS, MASK, PAD, UNKNOWN

# What stands for no text is not drawn; the end is.
_NEVER = (BOS, UNKNOWN, MASK, PAD)


def generate(
    next_logits: Callable[[Tensor], Tensor],
    prompts: Sequence[Sequence[int]],
    settings: SamplingConfig,
    length: int,
    random: torch.Generator,
) -> list[list[int]]:
    """Draw tokens after each prompt, up to the end or `generated_sequence_length`; return them without the prompt.

    next_logits: takes what there is so far, (batch, at most `length`), int64, on the generator's device, and returns
    the logits after each place, (batch, places, vocabulary). Of more than `length` tokens it gets the last.
    """
    rows = [[BOS, *prompt] for prompt in prompts]
    firsts = [len(row) for row in rows]
    is_open = [True] * len(rows)
    for _ in range(settings.generated_sequence_length):
        if not any(is_open):
            break
        for number, token in enumerate(_next_tokens(next_logits, rows, settings, length, random)):
            if is_open[number]:
                is_open[number] = token != EOS
                rows[number] += [token] if is_open[number] else []
    return [row[first:] for row, first in zip(rows, firsts, strict=True)]


def _next_tokens(
    next_logits: Callable[[Tensor], Tensor],
    rows: Sequence[list[int]],
    settings: SamplingConfig,
    length: int,
    random: torch.Generator,
) -> list[int]:
    shown = [row[-length:] for row in rows]
    longest = max(map(len, shown))
    tokens = torch.tensor([row + [PAD] * (longest - len(row)) for row in shown], device=random.device)
    logits = next_logits(tokens).float()
    last = torch.tensor([len(row) - 1 for row in shown], device=random.device)
    chosen = logits[torch.arange(len(rows), device=random.device), last]  # (batch, vocabulary)
    penalised = torch.stack([penalise(one, row[1:], settings) for one, row in zip(chosen, rows, strict=True)])
    drawn: list[int] = torch.multinomial(probabilities(penalised, settings), 1, generator=random)[:, 0].tolist()
    return drawn


def penalise(logits: Tensor, before: Sequence[int], settings: SamplingConfig) -> Tensor:
    """Make tokens less likely that were there before: (vocabulary,)."""
    logits = logits.clone()
    logits[list(_NEVER)] = -torch.inf
    recent = sorted(set(before[-settings.repetition_penalty_max_window :]))
    if recent and settings.repetition_penalty != 1:
        own = logits[recent]
        logits[recent] = torch.where(own > 0, own / settings.repetition_penalty, own * settings.repetition_penalty)
    window = torch.tensor(before[-settings.frequency_penalty_max_window :], dtype=torch.int64, device=logits.device)
    if len(window) and settings.frequency_penalty:
        logits -= settings.frequency_penalty * torch.bincount(window, minlength=len(logits))
    return logits


def probabilities(logits: Tensor, settings: SamplingConfig) -> Tensor:
    """Return what to draw from: (batch, vocabulary) after temperature, top-k, top-p and typical sampling."""
    logits = logits / settings.temperature
    if 0 < settings.top_k < logits.shape[1]:
        logits = logits.masked_fill(logits < logits.topk(settings.top_k).values[:, -1:], -torch.inf)
    if settings.top_p < 1:
        logits = _within(logits, -logits, settings.top_p)
    if settings.tau < 1:
        shares = logits.softmax(1)
        surprise = -logits.log_softmax(1)
        expected = torch.where(shares > 0, shares * surprise, 0).sum(1, keepdim=True)
        logits = _within(logits, (surprise - expected).abs(), settings.tau)
    return logits.softmax(1)


def _within(logits: Tensor, cost: Tensor, mass: float) -> Tensor:
    """Keep the cheapest tokens that together are so likely, the one that reaches it included."""
    order = cost.argsort(1)
    shares = logits.softmax(1).gather(1, order)
    is_beyond = shares.cumsum(1) - shares >= mass
    return logits.masked_fill(torch.zeros_like(is_beyond).scatter(1, order, is_beyond), -torch.inf)
