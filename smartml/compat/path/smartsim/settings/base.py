"""Settings of programs and of batch jobs, whatever launches them."""

from typing import Any

from smartml.experiment import RunSettings as _RunSettings
from smartml.experiment.schedulers.batch import BatchSettings as _BatchSettings
from smartsim.error.errors import SMARTSIM, SSUnsupportedError

__all__ = ["BatchSettings", "RunSettings", "SettingsBase"]


class SettingsBase:
    """What run settings and batch settings have in common."""


@SMARTSIM.speaks
class RunSettings(_RunSettings, SettingsBase):
    __doc__ = _RunSettings.__doc__


class BatchSettings(_BatchSettings, SettingsBase):
    __doc__ = _BatchSettings.__doc__


@SMARTSIM.speaks
class DragonRunSettings(RunSettings):
    """Of the launcher "dragon", which smartml has not."""

    def __init__(self, exe: str, exe_args: Any = None, env_vars: Any = None, **kwargs: Any) -> None:
        raise SSUnsupportedError(
            'smartml does not launch through Dragon: use launcher="slurm" or "pbs", whose run settings '
            "create_run_settings makes"
        )
