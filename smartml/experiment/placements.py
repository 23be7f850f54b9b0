"""Where programs run, where they write, and what they are told of the databases and of each other."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from smartml.experiment.batch_jobs import BatchPlan
from smartml.experiment.colocated import with_own_database
from smartml.experiment.ensemble import Ensemble
from smartml.experiment.model import Model
from smartml.experiment.schedulers.batch import BatchSettings
from smartml.experiment.schedulers.local import AUTH_VARIABLE, child_environment
from smartml.experiment.schedulers.settings import Placement
from smartml.store.entities import ENTITY_VARIABLE

# The addresses of databases, by their identifiers.
Addresses = Mapping[str, Sequence[str]]

# The variables by which a program finds its databases and names its keys.
_CLIENT_VARIABLES = ("SSDB", "SR_DB_TYPE", "SSKEYIN", "SSKEYOUT", AUTH_VARIABLE)


def placement_of(model: Model, addresses: Addresses) -> Placement:
    """Return where a program runs and writes, with the variables that tell it of the databases, and its name."""
    folder = Path(model.path)
    variables = child_environment(
        {},
        with_own_database(model, addresses),
        reads_from=[entity.name for entity in model.incoming_entities],
        writes_as=model.name if model.query_key_prefixing() else None,
    )
    client = {name: value for name, value in variables.items() if name.startswith(_CLIENT_VARIABLES)}
    out, err = (str(folder / f"{model.name}.{kind}") for kind in ("out", "err"))
    return Placement(model.name, model.name, str(folder), out, err, environment={**client, ENTITY_VARIABLE: model.name})


def batch_plan(
    entity: Model | Ensemble,
    settings: BatchSettings,
    launcher: str,
    addresses: Addresses,
    members: Sequence[Model] | None = None,
) -> BatchPlan:
    """Return the job that runs a model, or the members of an ensemble, by default all of them."""
    folder = Path(entity.path)
    chosen = members or ([entity] if isinstance(entity, Model) else entity.models)
    # One of an ensemble that is handed in again has a job of its own.
    name = chosen[0].name if isinstance(entity, Ensemble) and len(chosen) < len(entity) else entity.name
    # The program has taken the plain name for its own output.
    stem = f"{name}.job" if any(member.name == name for member in chosen) else name
    out, err = (str(folder / f"{stem}.{kind}") for kind in ("out", "err"))
    common = child_environment(os.environ, addresses)
    exported = {
        variable: value
        for variable, value in common.items()
        if os.environ.get(variable) != value and not variable.startswith(_CLIENT_VARIABLES)
    }
    job = Placement(name, name, str(folder), out, err, environment=exported)
    placed = [(member.run_settings, _batch_placement(member, addresses)) for member in chosen]
    return BatchPlan(launcher, settings, job, placed, common)


def _batch_placement(model: Model, addresses: Addresses) -> Placement:
    # What a process here is given by its environment must stand in the script.
    place = placement_of(model, addresses)
    log = {} if "SR_LOG_FILE" in os.environ else {"SR_LOG_FILE": place.err}
    return replace(place, environment={**place.environment, **log})
