"""Everything that the training loop needs, made from a configuration."""

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from smartml import __version__
from smartml.errors import CheckpointError
from smartml.training.batches import Codec
from smartml.training.checkpoints import load_weights
from smartml.training.config import ModelStart
from smartml.training.config_files import Configuration, without_paths, write_configuration
from smartml.training.data import Data, fit_codec
from smartml.training.history import RunHistory
from smartml.training.loading import Samples, TrainingBatches
from smartml.training.metrics import target_metrics
from smartml.training.model import Model
from smartml.training.processes import Processes
from smartml.training.resuming import Position, random_states, restore_random, save_state
from smartml.training.run_folder import RunFolder
from smartml.training.schedule import LearningRate, make_optimizer
from smartml.training.trained import load_codec

logger = logging.getLogger(__name__)

_DTYPES = {"16-mixed": torch.float16, "bf16-mixed": torch.bfloat16}


@dataclass
class Task:
    """What a run consists of."""

    run: RunFolder
    configuration: Configuration
    processes: Processes
    data: Data
    codec: Codec
    batches: TrainingBatches
    validation: Samples
    model: Model
    # The model as it is trained: the same, or shared with other processes.
    parallel: nn.Module
    optimizer: torch.optim.Optimizer
    rate: LearningRate
    scaler: torch.amp.GradScaler
    history: RunHistory
    position: Position = field(default_factory=Position)

    @property
    def device(self) -> torch.device:
        return self.processes.device

    @property
    def accumulation(self) -> int:
        """Batches to a step of the optimizer."""
        return self.configuration.globals.optimization.gradient_accumulation_steps or 1

    @property
    def iterations(self) -> int | None:
        """Batches of the whole run; None: not known."""
        steps = self.batches.steps
        return None if steps is None else steps * self.configuration.globals.basic_experiment.n_epochs

    @property
    def precision(self) -> torch.autocast:
        """The context to run the model in."""
        dtype = _DTYPES.get(self.configuration.globals.accelerator.precision)
        return torch.autocast(self.device.type, dtype, enabled=dtype is not None)

    def save(self) -> None:
        """Save where the run is; of several processes all have to call this."""
        randoms = self.processes.all_say(random_states(self.device))
        if not self.processes.is_first:
            return
        gradients = {name: it.grad for name, it in self.model.named_parameters() if it.grad is not None}
        save_state(
            self.run,
            self.position,
            {
                "model": self.model.state_dict(),
                "gradients": gradients,
                "optimizer": self.optimizer.state_dict(),
                "rate": self.rate.state_dict(),
                "scaler": self.scaler.state_dict(),
                "random": randoms,
                "held_out": [sample.id for sample in self.data.held_out],
            },
        )

    def restore(self, state: dict[str, Any]) -> None:
        """Take up what `save` has written."""
        try:
            self.position = Position(**state["position"])
            self.model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
        except (RuntimeError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.run.state}: is of another model: {str(error).splitlines()[0]}") from error
        for name, parameter in self.model.named_parameters():
            gradient = state["gradients"].get(name)
            parameter.grad = None if gradient is None else gradient.to(self.device)
        self.rate.load_state_dict(state["rate"])
        self.scaler.load_state_dict(state["scaler"])
        randoms = state["random"]
        if len(randoms) != self.processes.number:
            raise CheckpointError(
                f"{self.run.state}: was saved by {len(randoms)} processes, this is one of {self.processes.number}: "
                "resume with as many"
            )
        restore_random(randoms[self.processes.rank], self.device)


def set_up(configuration: Configuration, processes: Processes, data: Data, state: dict[str, Any] | None) -> Task:
    """Fit inputs and outputs, and make the model; or take all of it up where a run was."""
    general = configuration.globals
    run = RunFolder(Path(general.basic_experiment.output_folder))
    codec = fit_codec(configuration, data) if state is None else load_codec(run, configuration)
    torch.manual_seed(general.basic_experiment.seed)
    model = Model(codec.inputs, configuration.fusion, codec.outputs)
    if state is None and general.model.pretrained_checkpoint is not None:
        _load_pretrained(model, general.model)
    model.to(processes.device)
    if general.model.compile_model:
        model.compile()
    optimizer = make_optimizer(model, general.optimization)
    batches = data.batches(codec, processes)
    steps = None if batches.steps is None else batches.steps * general.basic_experiment.n_epochs
    accumulation = general.optimization.gradient_accumulation_steps or 1
    task = Task(
        run,
        configuration,
        processes,
        data,
        codec,
        batches,
        Samples(
            data.held_out, codec, are_kept=general.basic_experiment.memory_dataset or configuration.stream is not None
        ),
        model,
        _shared(model, processes),
        optimizer,
        LearningRate(
            optimizer, general.lr_schedule, general.optimization, None if steps is None else steps // accumulation
        ),
        torch.amp.GradScaler(processes.device.type, enabled=general.accelerator.precision == "16-mixed"),
        RunHistory(
            run,
            target_metrics(codec.outputs, general.metrics),
            has_targets=general.evaluation_checkpoint.saved_result_detail_level > 2,
        ),
    )
    if processes.is_first and state is None:
        _describe(task)
    # From here on each process draws random numbers of its own.
    torch.manual_seed(general.basic_experiment.seed + processes.rank)
    if state is not None:
        task.restore(state)
    if processes.is_first:
        task.history.flush() if state is None else task.history.go_back(task.position.iteration)
    return task


def _shared(model: Model, processes: Processes) -> nn.Module:
    if processes.number == 1:
        return model
    devices = [processes.device] if processes.device.type == "cuda" else None
    return nn.parallel.DistributedDataParallel(model, device_ids=devices)


def _load_pretrained(model: Model, settings: ModelStart) -> None:
    assert settings.pretrained_checkpoint is not None
    path = Path(settings.pretrained_checkpoint)
    left = load_weights(model, path, is_strict=settings.strict_pretrained_loading)
    if left:
        logger.warning("%s: %d weights do not fit, such as %s: they begin at random", path, len(left), left[0])


def _describe(task: Task) -> None:
    """Write what a run is, and all that loading its model takes."""
    run = task.run
    write_configuration(task.configuration, run.configs)
    write_configuration(without_paths(task.configuration), run.stripped_configs)
    for encoder in task.codec.inputs.values():
        encoder.save(run.serializations)
    for decoder in task.codec.outputs.values():
        decoder.save(run.serializations)
    for name, text in {
        "meta/smartml_version.txt": f"{__version__}\n",
        "model_architecture/model_info.txt": f"{task.model}\n\n{count_parameters(task.model):,} parameters\n",
    }.items():
        path = run.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def count_parameters(model: nn.Module) -> int:
    """Count the numbers that a model learns."""
    return sum(parameter.numel() for parameter in model.parameters())


@contextlib.contextmanager
def logged(run: RunFolder, level: str) -> Iterator[None]:
    """Write what smartml logs to the run's own file, too."""
    run.path.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(run.log, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger("smartml")
    before = root.level
    handler.setLevel(level.upper())
    root.addHandler(handler)
    root.setLevel(min(root.getEffectiveLevel(), handler.level))
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
        handler.close()
