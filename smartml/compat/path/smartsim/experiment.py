"""An experiment, by SmartSim's names."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from smartml import experiment as _ours
from smartml.errors import ArgumentValueError, PathNotFoundError
from smartml.experiment.entities import Entity
from smartml.experiment.files import PathLike
from smartml.experiment.orchestrator import Orchestrator as _Orchestrator
from smartml.experiment.schedulers.batch import BatchSettings as _BatchSettings
from smartml.experiment.schedulers.options import OptionValue
from smartml.experiment.schedulers.programs import EnvValue
from smartml.experiment.schedulers.settings import RunSettings as _RunSettings
from smartml.experiment.strategies import Strategy
from smartsim.database.orchestrator import Orchestrator
from smartsim.entity.ensemble import Ensemble, know_members
from smartsim.entity.entity import TelemetryConfiguration
from smartsim.entity.model import Model
from smartsim.error.errors import SMARTSIM, PreviewFormatError, SmartSimError
from smartsim.log import get_logger
from smartsim.settings.containers import Container
from smartsim.settings.settings import create_batch_settings, create_run_settings

__all__ = ["Experiment"]

# What is logged is seen from here on.
logger = get_logger(__name__)

# The interface of old Cray systems that SmartSim takes where none is named.
_CRAY = "ipogif0"

# The folder of an experiment that is not there.
_MAKING = SMARTSIM.with_rows({PathNotFoundError: (SmartSimError, NotADirectoryError)})

_PREVIEW = SMARTSIM.with_rows({ArgumentValueError: (PreviewFormatError,)})


@SMARTSIM.speaks
class Experiment(_ours.Experiment):
    __doc__ = _ours.Experiment.__doc__

    def __init__(self, name: str, exp_path: str | None = None, launcher: str = "local") -> None:
        _MAKING.call(super().__init__)(name, exp_path, launcher)
        self._telemetry = TelemetryConfiguration()

    @property
    def telemetry(self) -> TelemetryConfiguration:
        """Whether what is started is observed: `enable` keeps records, as `smartml.Experiment.start(monitor=True)`."""
        return self._telemetry

    def create_run_settings(
        self,
        exe: str,
        exe_args: str | Sequence[str] | None = None,
        run_command: str | None = "auto",
        run_args: Mapping[str, OptionValue] | None = None,
        env_vars: Mapping[str, EnvValue] | None = None,
        container: Container | None = None,
        **kwargs: Any,
    ) -> _RunSettings:
        """Describe how to run a program."""
        return create_run_settings(self.launcher, exe, exe_args, run_command, run_args, env_vars, container, **kwargs)

    def create_batch_settings(
        self,
        nodes: int = 1,
        time: str = "",
        queue: str = "",
        account: str = "",
        batch_args: Mapping[str, OptionValue] | None = None,
        **kwargs: Any,
    ) -> _BatchSettings:
        """Describe a job of the launcher's batch system."""
        return create_batch_settings(self.launcher, nodes, time, queue, account, batch_args, **kwargs)

    def create_model(
        self,
        name: str,
        run_settings: _RunSettings,
        params: dict[str, str | int | float] | None = None,
        path: PathLike | None = None,
        enable_key_prefixing: bool = False,
        batch_settings: _BatchSettings | None = None,
        **policy: Any,
    ) -> Model:
        """Describe a program."""
        made = super().create_model(name, run_settings, params, path, enable_key_prefixing, batch_settings, **policy)
        made.__class__ = Model
        assert isinstance(made, Model)
        return made

    def create_ensemble(
        self,
        name: str,
        params: Mapping[str, object] | None = None,
        batch_settings: _BatchSettings | None = None,
        run_settings: _RunSettings | None = None,
        replicas: int | None = None,
        perm_strategy: str | Strategy = "all_perm",
        path: PathLike | None = None,
        **kwargs: Any,
    ) -> Ensemble:
        """Describe several programs."""
        made = super().create_ensemble(
            name, params, batch_settings, run_settings, replicas, perm_strategy, path, **kwargs
        )
        made.__class__ = Ensemble
        assert isinstance(made, Ensemble)
        know_members(made)
        return made

    def create_database(
        self,
        port: int = 6379,
        path: PathLike | None = None,
        db_nodes: int = 1,
        batch: bool = False,
        hosts: str | Sequence[str] | None = None,
        run_command: str = "auto",
        interface: str | Sequence[str] = _CRAY,
        account: str | None = None,
        time: str | None = None,
        queue: str | None = None,
        single_cmd: bool = True,
        db_identifier: str = "orchestrator",
        **kwargs: Any,
    ) -> Orchestrator:
        """Describe a database."""
        return Orchestrator(
            path or Path(self.exp_path, db_identifier),
            port,
            "auto" if interface == _CRAY else interface,
            self.launcher,
            run_command,
            db_nodes,
            batch,
            hosts,
            account,
            time,
            single_cmd=single_cmd,
            db_identifier=db_identifier,
            queue=queue,
            **kwargs,
        )

    def start(  # type: ignore[override]
        self,
        *args: Entity,
        block: bool = True,
        summary: bool = False,
        kill_on_interrupt: bool = True,
        monitor: bool = True,
    ) -> None:
        """Start databases, then ensembles, then models. `monitor=False`: they outlive this script."""
        super().start(
            *args,
            block=block and monitor,
            summary=summary,
            kill_on_interrupt=kill_on_interrupt,
            detach=not monitor,
            monitor=self._telemetry.is_enabled,
        )

    def preview(  # type: ignore[override]
        self,
        *args: Entity,
        verbosity_level: str = "info",
        output_format: str = "plain_text",
        output_filename: PathLike | None = None,
    ) -> None:
        """Log what `start` would run, or write it to a file."""
        _PREVIEW.call(super().preview)(
            *args, verbosity_level=verbosity_level, output_format=output_format, output_filename=output_filename
        )

    def reconnect_orchestrator(self, checkpoint: PathLike) -> _Orchestrator:
        """Take up a database that runs, by its file `smartsim_db.dat` or its folder."""
        if not os.path.exists(checkpoint):
            raise PathNotFoundError(f"there is no checkpoint {os.fspath(checkpoint)}: the database has ended")
        found = super().reconnect_orchestrator(os.path.realpath(checkpoint))
        found.__class__ = Orchestrator
        return found
