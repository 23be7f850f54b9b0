"""What a server of samples sends over WebSocket, as samples of a run."""

from collections.abc import Iterator, Sequence

from smartml import streaming
from smartml.errors import ConfigError, DataError
from smartml.training.arriving import Streamed
from smartml.training.batches import Sample
from smartml.training.config_files import Configuration
from smartml.training.input_config import InputConfig


class ServerData(Streamed):
    """The stream of a server: smartml's own, or any that speaks EIR's protocol.

    Some samples are gathered first, and the server is told to begin again, without those that are held out.
    """

    def __init__(self, configuration: Configuration, held_out: Sequence[str] | None = None) -> None:
        super().__init__(configuration)
        assert configuration.stream is not None
        self._described = configuration.described
        preparation = configuration.globals.data_preparation
        valid_size = self._basic.valid_size
        source = streaming.WebSocketSource(
            configuration.stream,
            batch_size=preparation.streaming_batch_size or self._basic.batch_size,
            options=streaming.ClientOptions(wait_timeout_s=preparation.streaming_wait_timeout_s),
        )
        self._check_info(source.info())
        gathered = source.set_up(
            preparation.streaming_setup_samples,
            int(valid_size) if valid_size >= 1 else float(valid_size),
            self._basic.seed,
        )
        chosen = [sample.sample_id for sample in gathered.validation]
        if held_out is not None and set(chosen) != set(held_out):
            raise DataError(
                f"{configuration.stream}: the first {len(gathered.samples)} samples are others than when the run "
                "began, so that what was held out cannot be found again"
            )
        self._part_by(chosen, [self._sample(sample) for sample in gathered.samples])
        self._source = gathered.training

    def _check_info(self, info: streaming.Info) -> None:
        """Compare what the server says it sends with the configuration; name the first difference."""
        for config in self._described:
            is_input = isinstance(config, InputConfig)
            side = "inputs" if is_input else "outputs"
            features = info.inputs if is_input else info.outputs
            if config.name not in features:
                there = ", ".join(map(repr, features)) or "none"
                raise ConfigError(f"{config.source}: has no {config.name!r} among its {side}; there are {there}")
            if features[config.name].type != config.type:
                raise ConfigError(
                    f"{config.source}: {config.name!r} is {features[config.name].type}, the configuration says "
                    f"{config.type}"
                )

    def _sample(self, sample: streaming.Sample) -> Sample:
        inputs = {it.name for it in self._described if isinstance(it, InputConfig)}
        targets = {it.name for it in self._described if not isinstance(it, InputConfig)}
        return Sample(
            sample.sample_id,
            {name: value for name, value in sample.inputs.items() if name in inputs},
            {name: value for name, value in sample.target_labels.items() if name in targets},
        )

    def arriving(self) -> Iterator[Sample]:
        for sample in self._source:
            yield self._sample(sample)

    def close(self) -> None:
        pass
