"""The training loop: samples in, a model that has learned from them in the run folder."""

import contextlib
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from smartml.errors import DivergenceError, RunExistsError
from smartml.training.batches import Batch
from smartml.training.checkpoints import save_checkpoint
from smartml.training.config_files import Configuration
from smartml.training.judging import judge, write_generated, write_predictions
from smartml.training.loading import validation_batches
from smartml.training.losses import average_loss, find_losses
from smartml.training.metrics import measure, performance
from smartml.training.model import Mix
from smartml.training.monitoring import monitored
from smartml.training.processes import joined_processes
from smartml.training.resuming import read_state
from smartml.training.run_folder import RunFolder
from smartml.training.setting_up import Task, logged, set_up
from smartml.training.streams import as_streamed, open_data
from smartml.training.trained import TrainedModel

logger = logging.getLogger(__name__)

# Losses are fetched from the device after so many iterations, not after each.
_FETCHED = 20
# Share of the past in the losses of training that are written.
_SMOOTHING = 0.98


@dataclass(frozen=True)
class TrainingProgress:
    """How far a run has come."""

    iteration: int
    # None: nobody knows before the end.
    iterations: int | None
    epoch: int
    # Smoothed, of the last iterations that were looked at; the last and the best perf-average.
    loss: float
    performance: float | None
    best: float | None


@dataclass(frozen=True)
class Outcome:
    """What a run has come to."""

    folder: Path
    iterations: int
    # "done", "early stopping" or "stopped".
    reason: str
    best_performance: float
    # The best first.
    checkpoints: list[Path]
    # Seconds in the step loop, validations left out, and of these in the model and its optimizer.
    loop_s: float
    model_s: float


def train(
    configuration: Configuration,
    *,
    resume: bool = False,
    report: Callable[[TrainingProgress], object] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Train a model as the configuration says, and write all that comes of it to its `output_folder`.

    With `resume`, the run that is there goes on where it was saved last: at every checkpoint, or every validation where
    none are written, and when `stop()` said to stop. `report` is told about every iteration. Started by torchrun,
    processes train one model together. Raises TrainingError and its kin.
    """
    configuration = as_streamed(configuration)
    general = configuration.globals
    run = RunFolder(Path(general.basic_experiment.output_folder))
    with joined_processes(general.accelerator) as processes, contextlib.ExitStack() as opened:
        if processes.first_says(run.history("train").exists() and not resume):
            raise RunExistsError(f"{run.path} holds a run already: take another output_folder, or resume that one")
        state = read_state(run) if resume else None
        if processes.is_first:
            opened.enter_context(logged(run, general.visualization_logging.log_level))
            log = opened.enter_context(monitored(general.monitor, run.path.name))
        data = opened.enter_context(contextlib.closing(open_data(configuration, processes, state)))
        task = set_up(configuration, processes, data, state)
        if processes.is_first:
            task.history.log = log
        return _Loop(task, report, stop).run()


class _Loop:
    """One run of the loop."""

    def __init__(
        self, task: Task, report: Callable[[TrainingProgress], object] | None, stop: Callable[[], bool]
    ) -> None:
        self.task, self.report, self.stop = task, report, stop
        self.general = task.configuration.globals
        # Losses since they were fetched last: of each target, by iteration.
        self.waiting: list[tuple[int, Tensor]] = []
        self.performance: float | None = None
        self.loop_s = self.model_s = 0.0

    def run(self) -> Outcome:
        """Learn, judge and save until it is enough."""
        task, position = self.task, self.task.position
        settings = self.general.evaluation_checkpoint
        reason = "done"
        task.parallel.train()
        while position.epoch < self.general.basic_experiment.n_epochs and reason == "done":
            began = time.perf_counter()
            for batch in task.batches.epoch(position.epoch, position.batch):
                self._learn_from(batch)
                self.loop_s += time.perf_counter() - began
                if position.iteration % settings.sample_interval == 0 and self._judge_and_save():
                    reason = "early stopping"
                    break
                if task.processes.any_says(self.stop()):
                    reason = "stopped"
                    break
                began = time.perf_counter()
            else:
                position.epoch, position.batch = position.epoch + 1, 0
        if reason == "done" and position.iteration % settings.sample_interval:
            self._judge_and_save()
        self._note_losses()
        task.save()
        return self._outcome(reason)

    def _learn_from(self, batch: Batch) -> None:
        """Take one batch, and with the last of an accumulation a step of the optimizer."""
        task, position, settings = self.task, self.task.position, self.general.optimization
        began = time.perf_counter()
        batch = batch.to(task.device)
        mix = self._draw_mix(len(batch.ids))
        with task.precision:
            outputs = task.parallel(batch.inputs, batch.texts, mix)
        losses = find_losses(outputs, batch, task.codec.outputs, mix)
        loss = average_loss(losses, task.model, task.codec.outputs)
        torch.autograd.backward(task.scaler.scale(loss / task.accumulation))
        position.iteration += 1
        position.batch += 1
        if position.iteration % task.accumulation == 0:
            task.scaler.unscale_(task.optimizer)
            if settings.gradient_noise:
                _add_noise(task.model, settings.gradient_noise)
            if settings.gradient_clipping is not None:
                torch.nn.utils.clip_grad_norm_(task.model.parameters(), settings.gradient_clipping)
            task.scaler.step(task.optimizer)
            task.scaler.update()
            task.optimizer.zero_grad(set_to_none=True)
            task.rate.after_step()
        self.waiting.append((position.iteration, torch.stack(list(losses.values())).detach()))
        self.model_s += time.perf_counter() - began
        if len(self.waiting) >= _FETCHED:
            self._note_losses()
        if self.report is not None and task.processes.is_first:
            self.report(self._progress())

    def _draw_mix(self, size: int) -> Mix | None:
        alpha = self.general.training_control.mixing_alpha
        if not alpha:
            return None
        share = torch.distributions.Beta(alpha, alpha).sample().item()
        return Mix(share, torch.randperm(size).to(self.task.device))

    def _note_losses(self) -> None:
        """Fetch losses, and write them smoothed. Raises DivergenceError."""
        task = self.task
        keys = [(name, target) for name, decoder in task.codec.outputs.items() for target in decoder.targets]
        for iteration, fetched in self.waiting:
            values = fetched.tolist()
            if not all(map(math.isfinite, values)):
                raise DivergenceError(
                    f"the loss at iteration {iteration} is {sum(values) / len(values)}: take a smaller "
                    "optimization.lr, or gradient_clipping"
                )
            averages = task.position.smoothed
            for (name, target), value in zip(keys, values, strict=True):
                key = f"{name}/{target}"
                averages[key] = _SMOOTHING * averages.get(key, value) + (1 - _SMOOTHING) * value
            losses = {key: {"loss": averages["/".join(key)]} for key in keys}
            if task.processes.is_first:
                task.history.add("train", iteration, {"loss-average": self._smoothed_loss}, losses)
        self.waiting.clear()

    @property
    def _smoothed_loss(self) -> float:
        averages = self.task.position.smoothed
        return sum(averages.values()) / len(averages) if averages else math.nan

    def _judge_and_save(self) -> bool:
        """Validate, and save what is to be saved; return whether it is enough."""
        self._note_losses()
        task, position = self.task, self.task.position
        found = self._judge() if task.processes.is_first else None
        self.performance = now = float(task.processes.first_says(found))
        task.parallel.train()
        task.rate.after_validation(now)
        position.best, position.waited = (now, 0) if now > position.best else (position.best, position.waited + 1)
        settings = self.general.evaluation_checkpoint
        is_due = settings.checkpoint_interval is not None and (
            position.iteration % settings.checkpoint_interval == 0 or position.iteration % settings.sample_interval != 0
        )
        if is_due and now > position.best_saved:
            position.best_saved = now
            if task.processes.is_first:
                path = save_checkpoint(task.run, task.model, position.iteration, now, settings.n_saved_models)
                logger.info("checkpoint %s", path)
        if is_due or settings.checkpoint_interval is None:
            task.save()
        control = self.general.training_control
        is_late = position.iteration >= (control.early_stopping_buffer or 0)
        return is_late and 0 < control.early_stopping_patience <= position.waited

    def _judge(self) -> float:
        """Ask the model for all that was held out, and write what it says; return perf-average."""
        task, iteration = self.task, self.task.position.iteration
        basic, detail = self.general.basic_experiment, self.general.evaluation_checkpoint.saved_result_detail_level
        batches = validation_batches(task.validation, basic.batch_size)
        judged = judge(task.model, batches, task.codec, task.device, task.precision)
        measured = measure(judged, task.codec.outputs, self.general.metrics)
        now = performance(measured, task.codec.outputs, self.general.metrics)
        task.history.add("validation", iteration, {"loss-average": judged.loss, "perf-average": now}, measured)
        task.history.flush()
        logger.info("iteration %d: validation loss %.4f, perf-average %.4f", iteration, judged.loss, now)
        if detail > 4:
            write_predictions(task.run, judged, task.codec, iteration)
            trained = TrainedModel(task.model, task.codec, task.device)
            write_generated(task.run, trained, task.data.held_out, iteration, basic.seed)
        skip = self.general.visualization_logging.plot_skip_steps
        if detail > 1 and iteration > skip:
            task.history.draw(skip, with_targets=detail > 3)
        return now

    def _progress(self) -> TrainingProgress:
        position = self.task.position
        best = position.best if math.isfinite(position.best) else None
        return TrainingProgress(
            position.iteration, self.task.iterations, position.epoch, self._smoothed_loss, self.performance, best
        )

    def _outcome(self, reason: str) -> Outcome:
        task, position = self.task, self.task.position
        if task.processes.is_first:
            task.history.flush()
        logger.info("%s after %d iterations, best perf-average %.4f", reason, position.iteration, position.best)
        checkpoints = [path for *_, path in reversed(task.run.checkpoints())]
        return Outcome(task.run.path, position.iteration, reason, position.best, checkpoints, self.loop_s, self.model_s)


def _add_noise(model: torch.nn.Module, deviation: float) -> None:
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad += deviation * torch.randn_like(parameter.grad)
