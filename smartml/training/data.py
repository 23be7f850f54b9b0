"""Where a run's samples are: what all kinds of sources offer, and the one of files."""

from collections.abc import Iterable, Sequence
from typing import Protocol

from smartml.errors import DataError
from smartml.training.batches import Codec, Sample
from smartml.training.config_files import Configuration
from smartml.training.inputs import fit_input
from smartml.training.loading import FileBatches, Samples, TrainingBatches, balanced_weights
from smartml.training.outputs import fit_output
from smartml.training.processes import Processes
from smartml.training.sources import hold_out, read_files, read_values


class Data(Protocol):
    """The samples of a run."""

    # To fit inputs and outputs to; of files all, of a stream those that were gathered first.
    training: list[Sample]
    # To validate with.
    held_out: list[Sample]

    def batches(self, codec: Codec, processes: Processes) -> TrainingBatches:
        """Return what to train on."""

    def close(self) -> None:
        """Let go of the source."""


class FileData:
    """Samples in files.

    held_out: ids of a run that is resumed.
    """

    def __init__(self, configuration: Configuration, held_out: Iterable[str] | None = None) -> None:
        self._globals = configuration.globals
        samples = read_files(configuration)
        self.training, self.held_out = (
            hold_out(samples, self._globals.basic_experiment) if held_out is None else part_again(samples, held_out)
        )

    def batches(self, codec: Codec, processes: Processes) -> FileBatches:
        columns = self._globals.training_control.weighted_sampling_columns
        weights = None if columns is None else balanced_weights(self.training, codec, columns)
        basic = self._globals.basic_experiment
        samples = Samples(self.training, codec, are_kept=basic.memory_dataset)
        return FileBatches(samples, basic, weights, processes.rank, processes.number)

    def close(self) -> None:
        pass


def part_again(samples: Sequence[Sample], held_out: Iterable[str]) -> tuple[list[Sample], list[Sample]]:
    """Split samples as in the run that is resumed."""
    held = set(held_out)
    validation = [sample for sample in samples if sample.id in held]
    if len(validation) < len(held):
        missing = sorted(held - {sample.id for sample in validation})
        raise DataError(f"{len(missing)} samples that the run validated with are gone, such as {missing[0]!r}")
    return [sample for sample in samples if sample.id not in held], validation


def fit_codec(configuration: Configuration, data: Data) -> Codec:
    """Fit all inputs and outputs of a run to its samples."""
    return Codec(
        {
            config.name: fit_input(
                config, (read_values(it).inputs.get(config.name) for it in _having(data, config.name))
            )
            for config in configuration.inputs
        },
        {
            config.name: fit_output(
                config,
                (read_values(it).targets.get(config.name) for it in _only_targets(data.training)),
                (read_values(it).targets.get(config.name) for it in _only_targets(data.held_out)),
            )
            for config in configuration.outputs
        },
    )


def _having(data: Data, name: str) -> Iterable[Sample]:
    """Serve training samples with nothing but one input, so that no other file is read."""
    return (Sample(it.id, {name: it.inputs[name]}) for it in data.training if name in it.inputs)


def _only_targets(samples: Sequence[Sample]) -> Iterable[Sample]:
    return (Sample(it.id, {}, it.targets) for it in samples)
