"""The transformer: windows see only themselves, places only what they may."""

import pytest
import torch

from smartml.training.input_config import TransformerBlocks, TransformerSettings
from smartml.training.transformer import Attention, Blocks, SequenceReader, rotated, sines


def reader(**changes):
    torch.manual_seed(0)
    settings = TransformerSettings(
        **{"embedding_dim": 16, "model_init_config": {"num_layers": 2, "num_heads": 2}, "window_size": 8, **changes}
    )
    made = SequenceReader(261, 30, settings, 2).eval()
    for name, parameter in made.named_parameters():
        if name.endswith("_scale"):
            # At first they are so small that blocks hardly show.
            torch.nn.init.ones_(parameter)
    return made


def features(made, tokens):
    with torch.no_grad():
        return made(made.embed(tokens))


@pytest.mark.parametrize(
    ("pool", "window", "shape"), [("avg", 8, (4, 16)), ("max", 8, (4, 16)), (None, 8, (32, 16)), ("avg", 0, (1, 16))]
)
def test_each_window_gives_one_vector_or_all_its_places(pool, window, shape):
    made = reader(pool=pool, window_size=window)
    assert made.features == shape
    assert features(made, torch.zeros(3, 30, dtype=torch.int64)).shape == (3, *shape)


def test_a_window_sees_nothing_of_the_others():
    made = reader(pool="avg")
    tokens = torch.randint(0, 256, (1, 30))
    other = tokens.clone()
    # Two zeros stand in front of the first window: of 30 places, the second window has those from 6 to 13.
    other[0, 8] += 1

    changed = (features(made, tokens) != features(made, other)).any(-1)[0]

    assert changed.tolist() == [False, True, False, False]


def test_a_masked_reader_sees_only_what_was_before():
    made = reader(masked=True, window_size=0)
    tokens = torch.randint(0, 256, (1, 30))
    other = tokens.clone()
    other[0, 20] += 1

    changed = (features(made, tokens) - features(made, other)).abs().amax(-1)[0] > 1e-6

    assert not changed[:20].any() and changed[20:].all()


def test_rotation_keeps_lengths_and_depends_on_distance_alone():
    torch.manual_seed(0)
    q, k = torch.randn(2, 1, 1, 1, 8).expand(2, 1, 1, 12, 8)
    products = rotated(q)[0, 0] @ rotated(k)[0, 0].T

    torch.testing.assert_close(rotated(q).norm(dim=-1), q.norm(dim=-1))
    torch.testing.assert_close(products[2, 5], products[6, 9])
    assert (products[2, 5] - products[2, 7]).abs() > 1e-4


def test_attention_knows_the_order_of_what_it_sees():
    torch.manual_seed(0)
    attention = Attention(16, 2, 0.0, False, 1).eval()
    x = torch.randn(1, 6, 16)
    with torch.no_grad():
        assert not torch.allclose(attention(x.flip(1)), attention(x).flip(1), atol=1e-5)


def test_blocks_begin_as_almost_nothing():
    torch.manual_seed(0)
    blocks = Blocks(16, TransformerBlocks(num_heads=2), False, 2).eval()
    x = torch.randn(2, 5, 16)
    with torch.no_grad():
        assert 0 < (blocks(x) - x).abs().max() < 1e-3


def test_fixed_positions_are_sines_and_cosines():
    found = sines(4, 6)
    torch.testing.assert_close(found[0], torch.tensor([0.0, 1.0] * 3))
    torch.testing.assert_close(found[2, 0], torch.tensor(2.0).sin())
