"""The things that an experiment consists of, sorted by kind."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from smartml.errors import ArgumentTypeError, DuplicateNameError
from smartml.experiment.ensemble import Ensemble
from smartml.experiment.model import Model
from smartml.experiment.orchestrator import Orchestrator

Entity = Model | Ensemble | Orchestrator


class Entities(NamedTuple):
    """Entities sorted by kind: this is the order in which they are reported, and the reverse of their start."""

    models: list[Model]
    ensembles: list[Ensemble]
    databases: list[Orchestrator]

    @property
    def programs(self) -> list[Model]:
        """The models, then the members of the ensembles."""
        return [*self.models, *(member for ensemble in self.ensembles for member in ensemble)]

    @property
    def in_order_of_start(self) -> list[Model]:
        """The members of the ensembles, then the models."""
        return [*self.programs[len(self.models) :], *self.models]


def sort_entities(entities: Sequence[Entity]) -> Entities:
    """Return the entities by kind. Raises ArgumentTypeError, DuplicateNameError."""
    for entity in entities:
        if not isinstance(entity, Entity):
            hint = "; put a * before a list" if isinstance(entity, Iterable) else ""
            raise ArgumentTypeError(
                f"expected models, ensembles and databases, got {type(entity).__name__}: {entity!r}{hint}"
            )
    chosen = Entities(
        [entity for entity in entities if isinstance(entity, Model)],
        [entity for entity in entities if isinstance(entity, Ensemble)],
        [entity for entity in entities if isinstance(entity, Orchestrator)],
    )
    together: list[Entity] = [*chosen.programs, *chosen.ensembles, *chosen.databases]
    names = [entity.name for entity in together]
    for name in names:
        if names.count(name) > 1:
            raise DuplicateNameError(f"{names.count(name)} of the entities are named {name!r}: rename all but one")
    return chosen
