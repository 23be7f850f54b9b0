"""What to run: databases, models and ensembles, started, watched and stopped by an Experiment."""

from smartml.experiment.ensemble import Ensemble
from smartml.experiment.experiment import Experiment
from smartml.experiment.model import Model
from smartml.experiment.orchestrator import Orchestrator
from smartml.experiment.schedulers.alps import AprunSettings
from smartml.experiment.schedulers.containers import Apptainer, Container, Singularity
from smartml.experiment.schedulers.lsf import BsubBatchSettings, JsrunSettings
from smartml.experiment.schedulers.mpi import MpiexecSettings, MpirunSettings, OrterunSettings
from smartml.experiment.schedulers.pals import PalsMpiexecSettings
from smartml.experiment.schedulers.pbs import QsubBatchSettings
from smartml.experiment.schedulers.settings import RunSettings
from smartml.experiment.schedulers.sge import SgeQsubBatchSettings
from smartml.experiment.schedulers.slurm import SbatchSettings, SrunSettings
from smartml.experiment.states import Status

__all__ = [
    "Apptainer",
    "AprunSettings",
    "BsubBatchSettings",
    "Container",
    "Ensemble",
    "Experiment",
    "JsrunSettings",
    "Model",
    "MpiexecSettings",
    "MpirunSettings",
    "Orchestrator",
    "OrterunSettings",
    "PalsMpiexecSettings",
    "QsubBatchSettings",
    "RunSettings",
    "SbatchSettings",
    "SgeQsubBatchSettings",
    "Singularity",
    "SrunSettings",
    "Status",
]
