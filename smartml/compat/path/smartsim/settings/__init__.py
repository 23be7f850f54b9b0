"""Settings of programs and of batch jobs."""

from smartsim.settings.alpsSettings import AprunSettings
from smartsim.settings.base import RunSettings, SettingsBase
from smartsim.settings.containers import Container, Singularity
from smartsim.settings.dragonRunSettings import DragonRunSettings
from smartsim.settings.lsfSettings import BsubBatchSettings, JsrunSettings
from smartsim.settings.mpiSettings import MpiexecSettings, MpirunSettings, OrterunSettings
from smartsim.settings.palsSettings import PalsMpiexecSettings
from smartsim.settings.pbsSettings import QsubBatchSettings
from smartsim.settings.sgeSettings import SgeQsubBatchSettings
from smartsim.settings.slurmSettings import SbatchSettings, SrunSettings

__all__ = [
    "AprunSettings",
    "BsubBatchSettings",
    "Container",
    "DragonRunSettings",
    "JsrunSettings",
    "MpiexecSettings",
    "MpirunSettings",
    "OrterunSettings",
    "PalsMpiexecSettings",
    "QsubBatchSettings",
    "RunSettings",
    "SbatchSettings",
    "SettingsBase",
    "SgeQsubBatchSettings",
    "Singularity",
    "SrunSettings",
]
