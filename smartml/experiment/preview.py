"""What an experiment would run, as text; nothing is started, and no file is written but the text itself."""

import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import asdict
from pathlib import Path
from typing import Any

from smartml.errors import ArgumentValueError, UnsupportedError
from smartml.experiment.batch_jobs import BatchPlan
from smartml.experiment.ensemble import Ensemble
from smartml.experiment.hosting import batch_job
from smartml.experiment.model import Model
from smartml.experiment.orchestrator import Orchestrator, auth_files, reachable
from smartml.experiment.placements import Addresses, batch_plan, placement_of
from smartml.experiment.policy import Policy
from smartml.experiment.schedulers.batch import BatchSettings
from smartml.experiment.schedulers.local import Databases, command_line
from smartml.experiment.schedulers.programs import assignments
from smartml.experiment.supervisor import supervisor

# How much is told: of an ensemble the first and the last member, or all of them.
LEVELS = ("info", "debug", "developer")

# Set while a script is only looked at: gets what each `start` of it would run.
_show: ContextVar[Callable[[str], object] | None] = ContextVar("show", default=None)


def shown() -> Callable[[str], object] | None:
    """Return who gets the text of what would be started, or None where it is started."""
    return _show.get()


@contextmanager
def previewing(show: Callable[[str], object]) -> Iterator[None]:
    """Within, every `Experiment.start` hands the text of what it would run to `show`, and nothing is started.

    A database that is started by itself raises UnsupportedError.
    """

    def refuse(name: str, *arguments: Any, **options: Any) -> None:
        raise UnsupportedError(f"{name!r} is not started in a preview; hand it to Experiment.start to see it")

    token = _show.set(show)
    # Whatever starts a process goes through the one supervisor.
    vars(supervisor)["launch"] = refuse
    try:
        yield
    finally:
        del vars(supervisor)["launch"]
        _show.reset(token)


def preview_text(
    overview: Mapping[str, str],
    models: Sequence[Model],
    ensembles: Sequence[Ensemble],
    databases: Sequence[Orchestrator],
    running: Sequence[Orchestrator],
    shown_before: Sequence[Orchestrator] = (),
    verbosity_level: str = "info",
) -> str:
    """Return what would be run: commands, scripts, folders, files and variables.

    `overview` says what the experiment is, among others its "Launcher". `running` are the databases that run already;
    those that were `shown_before` are taken to run, too, at an address that is not known.
    Raises ArgumentValueError.
    """
    if verbosity_level not in LEVELS:
        levels = ", ".join(map(repr, LEVELS))
        raise ArgumentValueError(f"verbosity_level {verbosity_level!r} is unknown; there are: {levels}")
    launcher = overview["Launcher"]
    coming = [database for database in databases if database not in (*running, *shown_before)]
    unknown = {one.db_identifier: [f"<{one.db_identifier}>"] * one.db_nodes for one in (*shown_before, *coming)}
    addresses = Databases({**unknown, **reachable(running)}, auth_files([*shown_before, *coming, *running]))
    lines = ["=== Experiment Overview ===", "", *(f"{name}: {value}" for name, value in overview.items()), ""]
    lines += ["=== Entity Preview ===", ""]
    if running:
        lines += ["== Active Infrastructure ==", "", *_paragraphs(map(_database_lines, running))]
    if coming:
        lines += ["== Orchestrators ==", "", *_paragraphs(map(_database_lines, coming))]
    if models:
        lines += ["== Models ==", "", *_paragraphs(_model_lines(model, launcher, addresses) for model in models)]
    if ensembles:
        lines += ["== Ensembles ==", ""]
        is_short = verbosity_level == "info"
        lines += _paragraphs(_ensemble_lines(ensemble, launcher, addresses, is_short) for ensemble in ensembles)
    return "\n".join(lines).rstrip() + "\n"


def free_file(file: Path) -> Path:
    """Return the file, or with a number after its name where there is one already: `plan.txt`, `plan_01.txt`."""
    number, found = 0, file
    while found.exists():
        number += 1
        found = file.with_name(f"{file.stem}_{number:02}{file.suffix}")
    return found


def _paragraphs(texts: Iterable[list[str]]) -> list[str]:
    return [line for text in texts for line in [*text, ""]]


def _database_lines(database: Orchestrator) -> list[str]:
    kind = "Clustered" if database.db_nodes > 1 else "Standalone"
    address = ["Address: " + ",".join(database.get_address())] if database.is_running else []
    ports = ", ".join(str(port) if port else "any that is free" for port in database.ports)
    return [
        f"= Database Identifier: {database.db_identifier} =",
        *([f"Path: {database.path}"] if database.path else []),
        *address,
        f"TCP/IP Port(s): {ports}",
        *([f"Credentials: {database.auth_file}"] if database.auth_file else []),
        f"Type: {kind}",
        f"Nodes: {database.db_nodes}",
        f"Replicas: {database.replicas}",
        *(_hosted_lines(database) if database.launcher != "local" and not database.is_running else []),
    ]


def _hosted_lines(database: Orchestrator) -> list[str]:
    start = database.hosted_start()
    call = start.call("<token>")
    if start.request.batch is not None:
        plan, _ = batch_job(start.request, start.wanted.shape, start.folder, call)
        return _plan_lines(plan)
    return [f"Command: {shlex.join(step.settings.command(step.placement))}" for step in start.commands(call)]


def _model_lines(model: Model, launcher: str, addresses: Addresses) -> list[str]:
    return [
        f"= Model Name: {model.name} =",
        *_program_lines(model, launcher, addresses, model.batch_settings is not None),
    ]


def _ensemble_lines(ensemble: Ensemble, launcher: str, addresses: Addresses, is_short: bool) -> list[str]:
    members = ensemble.models
    shown_members = [members[0], members[-1]] if is_short and len(members) > 2 else members
    lines = [f"= Ensemble Name: {ensemble.name} =", f"Path: {ensemble.path}", f"Members: {len(members)}"]
    if ensemble.batch_settings is not None:
        lines += _batch_lines(ensemble, ensemble.batch_settings, launcher, addresses)
    for member in shown_members:
        is_batch = ensemble.batch or member.batch_settings is not None
        lines += ["", f"- Member Name: {member.name}", *_program_lines(member, launcher, addresses, is_batch)]
    if left := len(members) - len(shown_members):
        lines += ["", f"and {left} more between these; verbosity_level='debug' shows all"]
    return lines


def _program_lines(model: Model, launcher: str, addresses: Addresses, is_batch: bool) -> list[str]:
    placement = placement_of(model, addresses)
    settings = model.run_settings
    lines = [f"Path: {model.path}"]
    lines += [f"Parameter: {name} = {value}" for name, value in model.params.items()]
    for kind, paths in (("Copy", model.files.to_copy), ("Symlink", model.files.to_symlink)):
        lines += [f"{kind}: {path}" for path in paths]
    lines += [f"Configure: {path}" for path in model.files.to_configure]
    lines.append(f"Key Prefix: {model.query_key_prefixing()}")
    lines += [f"In Databases: {one}" for one in model.db_objects]
    lines += [f"Starts After: {dependency}" for dependency in model.dependencies]
    changed = {name: value for name, value in asdict(model.policy).items() if value != getattr(Policy(), name)}
    lines += [f"Policy: {name} = {value}" for name, value in changed.items()]
    lines += [f"Environment: {variable}" for variable in assignments({**placement.environment, **settings.env_vars})]
    taken = [name for name, value in settings.env_vars.items() if value is None]
    lines += [f"Environment: {name} as it is here" for name in taken]
    if not is_batch:
        words = command_line(settings, model.path) if launcher == "local" else settings.command(placement)
        lines.append(f"Command: {shlex.join(words)}")
    elif model.batch_settings is not None:
        lines += _batch_lines(model, model.batch_settings, launcher, addresses)
    for file, text in settings.side_files(placement).items() if launcher != "local" else ():
        lines += [f"File: {file}", *_indented(text)]
    return [*lines, f"Output: {placement.out}", f"Error Output: {placement.err}"]


def _batch_lines(entity: Model | Ensemble, settings: BatchSettings, launcher: str, addresses: Addresses) -> list[str]:
    return _plan_lines(batch_plan(entity, settings, launcher, addresses))


def _plan_lines(plan: BatchPlan) -> list[str]:
    settings = plan.settings
    command = shlex.join(settings.submit_command(str(plan.file)))
    command += f" < {shlex.quote(str(plan.file))}" if settings.reads_script else ""
    return [f"Command: {command}", f"Script: {plan.file}", *_indented(plan.text)]


def _indented(text: str) -> list[str]:
    return [f"    {line}".rstrip() for line in text.splitlines()]
