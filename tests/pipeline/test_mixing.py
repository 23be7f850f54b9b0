"""Several streams made into one."""

from collections import Counter

import pytest

from smartml.pipeline import IterableSamplerSource, IterableSource, Multiplexer, MultiplexingStrategy, Schedule


def letters():
    return [IterableSource([f"{letter}{n}" for n in range(count)]) for letter, count in (("a", 5), ("b", 9), ("c", 3))]


# The sampler


def test_the_sampler_gives_everything_once_and_keeps_the_order_of_each():
    given_out = IterableSamplerSource(letters(), probs=[0.7, 0.2, 0.1]).collect()

    assert len(given_out) == 17
    for letter, count in (("a", 5), ("b", 9), ("c", 3)):
        assert [it for it in given_out if it[0] == letter] == [f"{letter}{n}" for n in range(count)]


@pytest.mark.parametrize("probs", [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]])
def test_weights_that_sum_to_one_but_for_rounding_are_taken(probs):
    chain = IterableSamplerSource(letters(), probs=probs, seed=1)

    assert chain.collect() == chain.collect()


def test_the_sampler_draws_by_its_weights_and_scales_up_those_that_are_left():
    members = [[0] * 20_000, [1] * 20_000, [2]]
    given_out = IterableSamplerSource(members, probs=[0.1, 0.4, 0.5], seed=1).collect()

    ones = Counter(given_out[100:5100])
    assert ones[1] / 5000 == pytest.approx(0.8, abs=0.03)


def test_equal_weights_are_the_default():
    given_out = IterableSamplerSource([[0] * 9000, [1] * 9000, [2] * 9000], seed=1).take(9000).collect()

    assert all(count == pytest.approx(3000, abs=250) for count in Counter(given_out).values())


def test_no_stream_gives_an_empty_stream():
    assert IterableSamplerSource([]).collect() == []
    assert IterableSamplerSource([[], []]).collect() == []


@pytest.mark.parametrize("wrong", [[0.5, 0.5], [0.5, 0.4, 0.2], [1.2, -0.1, -0.1], [1, 0, 0]])
def test_weights_that_cannot_be_are_refused_when_the_sampler_is_built(wrong):
    with pytest.raises(ValueError, match=r"weights|probs"):
        IterableSamplerSource(letters(), probs=wrong)


def test_weights_may_change_with_the_number_of_items_drawn():
    members = [["a"] * 100, ["b"] * 100]

    chain = IterableSamplerSource(members, probs=lambda drawn: [1, 0] if drawn < 10 else [0, 1], seed=1)

    assert chain.take(30).collect() == ["a"] * 10 + ["b"] * 20


def test_members_of_weight_zero_come_when_no_others_are_left():
    chain = IterableSamplerSource([[1, 2], [3]], probs=lambda drawn: [0, 1])

    assert chain.collect() == [3, 1, 2]


def test_a_schedule_holds_from_number_to_number_or_goes_straight_between():
    weights = {0: [1, 0], 10: [0, 1]}

    assert [Schedule(weights)(drawn) for drawn in (0, 9, 10, 99)] == [[1, 0], [1, 0], [0, 1], [0, 1]]
    assert Schedule(weights, interpolate=True)(5) == [0.5, 0.5]
    assert Schedule(weights, interpolate=True)(99) == [0, 1]


def test_a_schedule_begins_at_zero_with_as_many_weights_throughout():
    with pytest.raises(ValueError, match="item 0"):
        Schedule({5: [1]})
    with pytest.raises(ValueError, match="as many"):
        Schedule({0: [1], 5: [1, 2]})


@pytest.mark.parametrize("weights", [[1], [1, -1, 1]])
def test_weights_from_a_function_are_looked_at(weights):
    with pytest.raises(ValueError, match=r"weights|negative"):
        IterableSamplerSource(letters(), probs=lambda drawn: weights).collect()


# The multiplexer: orders and counts as squirrel-core 0.20.2 gives them.


@pytest.mark.parametrize(
    ("strategy", "arguments", "expected", "begun_again", "counts"),
    [
        ("RoundRobin", {}, "a0b0c0a1b1c1a2b2c2a3b3a4b4b5b6b7b8", [], [5, 9, 3]),
        (
            "uniform_with_replacement",
            {"seed": 1},
            "b0c0a0a1a2c1c2a3a4a0b1c0b2a1a2a3c1c2b3b4c0c1b5c2b6a4b7c0a0a1c1b8",
            [2, 1, 3],
            [12, 9, 11],
        ),
        (
            "uniform_with_replacement",
            {"seed": 7, "max_reinits": 2},
            "c0a0c1a1b0c2a2a3c0a4c1b1b2c2a0b3",
            [1, 0, 2],
            [6, 4, 6],
        ),
        ("sampling", {"seed": 5, "sampling_probas": [5, 3, 2], "max_reinits": 1}, "a0a1c0a2a3a4", [1, 0, 0], [5, 0, 1]),
        ("sampling", {"seed": 4, "sampling_probas": [5, 3, 0]}, "a0a1a2b0b1b2a3a4b3b4b5b6b7a0a1a2b8", [1, 1], [8, 9]),
    ],
)
def test_the_multiplexer_draws_as_seeded(strategy, arguments, expected, begun_again, counts):
    mixed = Multiplexer(letters(), strategy, **arguments)

    for _ in range(2):
        assert "".join(mixed) == expected
        assert mixed.reinit_counts == begun_again
        assert mixed.num_samples == counts


def test_the_multiplexer_takes_strategies_and_their_values():
    assert Multiplexer([[1], [2]], MultiplexingStrategy.ROUND_ROBIN, colour="ignored").collect() == [1, 2]
    with pytest.raises(ValueError, match="'RoundRobin'"):
        Multiplexer([[1]], "round_robin")


@pytest.mark.parametrize("weights", [None, [1], [1, -1, 1]])
def test_sampling_needs_a_weight_for_each(weights):
    with pytest.raises(ValueError, match=r"sampling_probas|weights"):
        Multiplexer(letters(), "sampling", weights)


@pytest.mark.parametrize("strategy", ["RoundRobin", "uniform_with_replacement"])
def test_the_multiplexer_of_nothing_ends(strategy):
    assert Multiplexer([], strategy).collect() == []
    assert Multiplexer([[], []], strategy).collect() == []
