"""Generated text: drawn as the settings say, and ended in time."""

import torch

from smartml.training.generate import generate, penalise, probabilities
from smartml.training.output_config import SamplingConfig
from smartml.training.tokenization import BOS, EOS

PLAIN = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "tau": 1.0, "repetition_penalty": 1.0, "frequency_penalty": 0.0}


def draw(next_logits, prompts, length=100, seed=0, **changes):
    random = torch.Generator()
    random.manual_seed(seed)
    return generate(next_logits, prompts, SamplingConfig(**{**PLAIN, **changes}), length, random)


def counting(tokens):
    """Say the number after the last one, and the end after 9."""
    following = torch.where(tokens == 9, EOS, torch.where(tokens == BOS, 5, tokens + 1))
    return torch.nn.functional.one_hot(following, 12).float() * 50


def test_rows_end_at_their_own_ends():
    assert draw(counting, [[], [7], [5, 6]]) == [[5, 6, 7, 8, 9], [8, 9], [7, 8, 9]]


def test_no_more_tokens_than_wanted():
    assert draw(counting, [[], [8]], generated_sequence_length=2) == [[5, 6], [9]]


def test_of_what_is_too_long_the_oldest_slides_out():
    seen = []

    def remember(tokens):
        seen.append(tokens.tolist())
        return counting(tokens)

    assert draw(remember, [[]], length=3) == [[5, 6, 7, 8, 9]]
    assert seen[-1] == [[7, 8, 9]]


def test_the_same_seed_draws_the_same():
    def anything(tokens):
        return torch.zeros(*tokens.shape, 50)

    assert draw(anything, [[]], seed=1) == draw(anything, [[]], seed=1) != draw(anything, [[]], seed=2)


def test_special_tokens_but_the_end_are_never_drawn():
    drawn = draw(lambda tokens: torch.zeros(*tokens.shape, 7), [[]] * 200, generated_sequence_length=3)
    assert {token for row in drawn for token in row} == {5, 6}
    assert min(map(len, drawn)) < 3


def shares(logits, **changes):
    return probabilities(torch.tensor([logits]), SamplingConfig(**{**PLAIN, **changes}))[0]


def test_what_is_drawn_from_is_cut_as_the_settings_say():
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().tolist()

    torch.testing.assert_close(shares(logits), torch.tensor([0.5, 0.3, 0.15, 0.05]))
    torch.testing.assert_close(shares(logits, top_k=2), torch.tensor([0.625, 0.375, 0, 0]))
    torch.testing.assert_close(shares(logits, top_p=0.9), torch.tensor([0.5, 0.3, 0.15, 0]) / 0.95)
    torch.testing.assert_close(shares(logits, temperature=0.5)[:2], torch.tensor([0.25, 0.09]) / 0.365)
    # Its surprise of 1.2 is the nearest to what is expected, 1.14.
    torch.testing.assert_close(shares(logits, tau=0.2), torch.tensor([0.0, 1, 0, 0]))


def test_tokens_that_were_there_are_less_likely():
    logits = torch.full((9,), 2.0)
    logits[7] = -2.0

    found = penalise(logits, [6, 7, 6], SamplingConfig(repetition_penalty=2.0, frequency_penalty=0.25))

    assert found[5:].tolist() == [2.0, 1.0 - 0.5, -4.0 - 0.25, 2.0]
    near = penalise(logits, [6, 8], SamplingConfig(repetition_penalty=2.0, repetition_penalty_max_window=1,
                                                  frequency_penalty=0.0))  # fmt: skip
    assert near[6] == 2.0 and near[8] == 1.0
