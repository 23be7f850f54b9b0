"""Strategies: the parameters of members."""

import random

import numpy as np
import pytest

from smartml.errors import ArgumentTypeError, ArgumentValueError, StrategyError, UnsupportedError
from smartml.experiment.strategies import all_perm, members_of, random_perm, step

NAMES, VALUES = ["a", "b"], [["1", "2"], ["x", "y", "z"]]


def texts(members):
    return ["".join(member.values()) for member in members]


def test_all_perm_makes_every_combination_the_last_name_fastest():
    assert texts(all_perm(NAMES, VALUES)) == ["1x", "1y", "1z", "2x", "2y", "2z"]


def test_step_goes_through_the_lists_side_by_side(caplog):
    assert texts(step(NAMES, [["1", "2"], ["x", "y"]])) == ["1x", "2y"]
    assert not caplog.text
    assert texts(step(NAMES, VALUES)) == ["1x", "2y"]
    assert "leaves values out: the numbers of values differ, {'a': 2, 'b': 3}" in caplog.text


@pytest.mark.parametrize(("n_models", "count"), [(1, 1), (5, 5), (6, 6), (7, 6), (0, 6), (-1, 6)])
def test_random_takes_so_many_different_ones_of_all(n_models, count):
    made = texts(random_perm(NAMES, VALUES, n_models))
    assert len(set(made)) == len(made) == count
    assert set(made) <= set(texts(all_perm(NAMES, VALUES)))


def test_random_is_repeatable_by_its_seed_and_keeps_the_order_of_names():
    random.seed(5)
    first = random_perm(NAMES, VALUES, 3)
    random.seed(5)
    assert random_perm(NAMES, VALUES, 3) == first
    random.seed(5)
    assert random.sample(all_perm(NAMES, VALUES), 3) == first
    assert list(first[0]) == NAMES


def test_random_takes_few_of_more_than_could_be_listed():
    values = [[str(i) for i in range(1000)]] * 10
    assert len(random_perm([f"p{i}" for i in range(10)], values, 4)) == 4


@pytest.mark.parametrize(
    ("value", "listed"),
    [
        (5, ["5"]),
        (0.5, ["0.5"]),
        ("text", ["text"]),
        ([1, "b", 0.5], ["1", "b", "0.5"]),
        ((1, 2), ["1", "2"]),
        (range(2), ["0", "1"]),
        (np.array([0.5, 1.0]), ["0.5", "1.0"]),
        (np.float32(0.5), ["0.5"]),
        ([np.int64(3)], ["3"]),
    ],
)
def test_a_value_may_be_one_or_several(value, listed):
    assert [member["a"] for member in members_of({"a": value}, "all_perm")] == listed


@pytest.mark.parametrize("params", [[1], {"a": None}, {"a": [[1]]}, {"a": {}}, {5: [1]}, {"a": np.zeros((2, 2))}])
def test_other_parameters_are_refused(params):
    with pytest.raises(ArgumentTypeError):
        members_of(params, "all_perm")


def test_a_parameter_without_values_is_refused():
    with pytest.raises(ArgumentValueError, match="'a' has no values"):
        members_of({"a": []}, "all_perm")


def test_an_own_strategy_gets_names_values_and_the_number_asked_for():
    def mine(names, values, n_models):
        return [{"names": " ".join(names), "values": str(values), "n": str(n_models)}]

    assert members_of({"a": [1, 2], "b": 3}, mine, 7) == [{"names": "a b", "values": "[['1', '2'], ['3']]", "n": "7"}]


@pytest.mark.parametrize("made", [None, {}, [1], [{"a": 1}, None], []])
def test_an_own_strategy_must_return_members(made):
    with pytest.raises(StrategyError, match=r"strategy '<lambda>'"):
        members_of({"a": 1}, lambda names, values, n_models: made)


def test_an_unknown_strategy_is_refused_with_those_there_are():
    for wrong in ("some", 5, None):
        with pytest.raises(UnsupportedError, match="there are: 'all_perm', 'step', 'random', or a function"):
            members_of({"a": 1}, wrong)
    with pytest.raises(ArgumentTypeError, match="n_models"):
        members_of({"a": 1}, "random", 1.5)
