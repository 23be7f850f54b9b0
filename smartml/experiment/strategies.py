"""How the parameters of an ensemble become those of its members.

A strategy is a function of the names, the values of each, and `n_models`, the number of members that was asked for
(0: not at all). It returns the parameters of each member. Values are text.
"""

import itertools
import logging
import math
import random
import sys
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from smartml.errors import ArgumentTypeError, ArgumentValueError, StrategyError, UnsupportedError

logger = logging.getLogger(__name__)

Strategy = Callable[[list[str], list[list[str]], int], list[dict[str, str]]]


def all_perm(names: list[str], values: list[list[str]], n_models: int = 0) -> list[dict[str, str]]:
    """Return every combination; the values of the last name change fastest."""
    return [dict(zip(names, chosen, strict=True)) for chosen in itertools.product(*values)]


def step(names: list[str], values: list[list[str]], n_models: int = 0) -> list[dict[str, str]]:
    """Return the first values, the second values, ...; the shortest list says how many, with a warning."""
    lengths = {name: len(listed) for name, listed in zip(names, values, strict=True)}
    if len(set(lengths.values())) > 1:
        logger.warning("strategy 'step' leaves values out: the numbers of values differ, %s", lengths)
    return [dict(zip(names, chosen, strict=True)) for chosen in zip(*values, strict=False)]


def random_perm(names: list[str], values: list[list[str]], n_models: int = 0) -> list[dict[str, str]]:
    """Return `n_models` different combinations, or all where there are no more; `random.seed` makes it repeatable."""
    total = math.prod(map(len, values))
    if not 0 < n_models < total:
        return all_perm(names, values)
    # Drawn by number: the list of all may be too long to make.
    return [_combination(number, names, values) for number in _draw(total, n_models)]


STRATEGIES: dict[str, Strategy] = {"all_perm": all_perm, "step": step, "random": random_perm}


def members_of(params: object, strategy: str | Strategy, n_models: int = 0) -> list[dict[str, str]]:
    """Return the parameters of each member.

    Raises ArgumentTypeError, ArgumentValueError, UnsupportedError for a strategy that is not known, and StrategyError
    when one of the user's does not return a list of dicts.
    """
    listed = _listed(params)
    if not isinstance(n_models, int) or isinstance(n_models, bool):
        raise ArgumentTypeError(f"n_models must be an int, got {n_models!r}")
    if isinstance(strategy, str) and strategy in STRATEGIES:
        return STRATEGIES[strategy](list(listed), list(listed.values()), n_models)
    if not callable(strategy):
        raise UnsupportedError(
            f"strategy {strategy!r} is unknown; there are: {', '.join(map(repr, STRATEGIES))}, or a function of names, "
            "values and n_models"
        )
    made = strategy(list(listed), list(listed.values()), n_models)
    name = getattr(strategy, "__name__", repr(strategy))
    if not isinstance(made, list) or not all(isinstance(member, Mapping) for member in made):
        raise StrategyError(f"strategy {name!r} must return a list of dicts, one for each member, got {made!r}")
    if not made:
        raise StrategyError(f"strategy {name!r} returned no member")
    return [dict(member) for member in made]


def _listed(params: object) -> dict[str, list[str]]:
    if not isinstance(params, Mapping):
        raise ArgumentTypeError(f"params must map names to lists of values, got {type(params).__name__}")
    return {_name(name): _values(name, value) for name, value in params.items()}


def _name(name: object) -> str:
    if not isinstance(name, str):
        raise ArgumentTypeError(f"the name of a parameter must be a str, got {name!r}")
    return name


def _values(name: str, value: object) -> list[str]:
    if isinstance(value, np.ndarray | np.generic):
        # Numbers of Python, whose text is that of any file.
        value = value.tolist()
    several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
    if not several:
        raise ArgumentValueError(f"parameter {name!r} has no values: give one, or leave it out")
    for one in several:
        if not isinstance(one, str | int | float | np.generic):
            raise ArgumentTypeError(f"parameter {name!r} must be a str, a number, or a list of these, got {value!r}")
    return [str(one) for one in several]


def _draw(total: int, count: int) -> list[int]:
    if total <= sys.maxsize:
        return random.sample(range(total), count)
    # More than `random.sample` can number.
    drawn: dict[int, None] = {}
    while len(drawn) < count:
        drawn[random.randrange(total)] = None
    return list(drawn)


def _combination(number: int, names: list[str], values: list[list[str]]) -> dict[str, str]:
    """Return the combination of that number, as `all_perm` would count them."""
    chosen: dict[str, str] = {}
    for name, listed in zip(reversed(names), reversed(values), strict=True):
        number, index = divmod(number, len(listed))
        chosen[name] = listed[index]
    return {name: chosen[name] for name in names}
