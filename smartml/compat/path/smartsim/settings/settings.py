"""Settings as the launcher wants them."""

from collections.abc import Mapping, Sequence
from typing import Any

from smartml.errors import UnsupportedError
from smartml.experiment.schedulers import launchers
from smartml.experiment.schedulers.batch import BatchSettings as _BatchSettings
from smartml.experiment.schedulers.options import OptionValue
from smartml.experiment.schedulers.programs import EnvValue
from smartml.experiment.schedulers.settings import RunSettings as _RunSettings
from smartsim.error.errors import SMARTSIM, SmartSimError
from smartsim.settings.alpsSettings import AprunSettings
from smartsim.settings.base import RunSettings
from smartsim.settings.containers import Container
from smartsim.settings.lsfSettings import BsubBatchSettings, JsrunSettings
from smartsim.settings.mpiSettings import MpiexecSettings, MpirunSettings, OrterunSettings
from smartsim.settings.palsSettings import PalsMpiexecSettings
from smartsim.settings.pbsSettings import QsubBatchSettings
from smartsim.settings.sgeSettings import SgeQsubBatchSettings
from smartsim.settings.slurmSettings import SbatchSettings, SrunSettings

__all__ = ["create_batch_settings", "create_run_settings"]

# By the classes of smartml that launchers make, those that programs know.
_KINDS: dict[type, Any] = {
    kind.__mro__[1]: kind
    for kind in (
        *(AprunSettings, JsrunSettings, MpiexecSettings, MpirunSettings, OrterunSettings, PalsMpiexecSettings),
        *(RunSettings, SrunSettings),
        *(BsubBatchSettings, QsubBatchSettings, SbatchSettings, SgeQsubBatchSettings),
    )
}

# A launcher without batch jobs, or one that is not known.
_NO_BATCH = SMARTSIM.with_rows({UnsupportedError: (SmartSimError,)})


@SMARTSIM.call
def create_run_settings(
    launcher: str,
    exe: str,
    exe_args: str | Sequence[str] | None = None,
    run_command: str | None = "auto",
    run_args: Mapping[str, OptionValue] | None = None,
    env_vars: Mapping[str, EnvValue] | None = None,
    container: Container | None = None,
    **kwargs: Any,
) -> _RunSettings:
    """Describe how to run a program by a launcher."""
    made = launchers.create_run_settings(launcher, exe, exe_args, run_command, run_args, env_vars, container, **kwargs)
    return known(made)


@_NO_BATCH.call
def create_batch_settings(
    launcher: str,
    nodes: int | None = None,
    time: str = "",
    queue: str | None = None,
    account: str | None = None,
    batch_args: Mapping[str, OptionValue] | None = None,
    **kwargs: Any,
) -> _BatchSettings:
    """Describe a job of a launcher's batch system."""
    made = launchers.create_batch_settings(launcher, nodes, time, queue or "", account or "", batch_args, **kwargs)
    made.__class__ = _KINDS[type(made)]
    return made


def known(settings: _RunSettings) -> _RunSettings:
    """Return settings that smartml made as those of the class that programs know, which differs in its errors alone."""
    settings.__class__ = _KINDS.get(type(settings), type(settings))
    return settings
