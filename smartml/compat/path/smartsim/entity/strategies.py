"""How parameters become members of an ensemble."""

from smartml.experiment.strategies import all_perm as create_all_permutations
from smartml.experiment.strategies import random_perm as random_permutations
from smartml.experiment.strategies import step as step_values

__all__ = ["create_all_permutations", "random_permutations", "step_values"]
