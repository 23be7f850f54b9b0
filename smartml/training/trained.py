"""A trained model as it is used: raw samples in, answers out. What serving and predicting stand on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from smartml.errors import ArgumentValueError, SampleError
from smartml.training.batches import Batch, Codec, Sample
from smartml.training.checkpoints import load_weights
from smartml.training.config_files import Configuration, read_written
from smartml.training.generate import generate
from smartml.training.inputs import InputEncoder, load_input
from smartml.training.model import Model, Outputs
from smartml.training.outputs import OutputDecoder, SequenceDecoder, load_output
from smartml.training.run_folder import RunFolder, run_of


class TrainedModel:
    """A model with its inputs and outputs, for evaluation alone.

    Nothing in it changes: several threads may use it at once.
    """

    def __init__(self, model: Model, codec: Codec, device: torch.device) -> None:
        self.model, self.codec, self.device = model.to(device).eval(), codec, device

    @property
    def inputs(self) -> dict[str, InputEncoder]:
        """Inputs by name; `describe()` of each says what it takes."""
        return self.codec.inputs

    @property
    def outputs(self) -> dict[str, OutputDecoder]:
        """Outputs by name; `describe()` of each says what it answers."""
        return self.codec.outputs

    @property
    def needs_generation(self) -> bool:
        """Whether an output is a sequence, so that `generate` answers, not `forward` and `decode`."""
        return bool(self.model.sequences)

    def encode(self, samples: Sequence[Mapping[str, Any]]) -> Batch:
        """Make a batch of raw samples: for each input its name and value (bytes, text, columns, array).

        A model that generates takes a text under the output's name as well: how the answer begins. Raises SampleError
        that names number and field, also as its attributes `sample` and `field`.
        """
        if not samples:
            raise SampleError("there is no sample: give at least one")
        return self.codec.collate([self._prepared(number, sample) for number, sample in enumerate(samples)])

    def _prepared(self, number: int, sample: Mapping[str, Any]) -> Any:
        prompts = {name for name in self.model.sequences if name in sample}
        for name in sample:
            if name not in self.inputs and name not in prompts:
                raise SampleError(
                    f"sample {number}: {name!r} is no input of this model; its inputs are {', '.join(self.inputs)}",
                    number,
                    name,
                )
        for name in (*self.inputs, *self.model.sequences):
            if sample.get(name) is None:
                raise SampleError(f"sample {number}: {name!r} is missing", number, name)
        try:
            inputs = {name: sample[name] for name in self.inputs}
            return self.codec.prepare(Sample(str(number), inputs, {name: sample[name] for name in prompts}))
        except SampleError as error:
            raise SampleError(f"sample {number}: {error}", number, error.field) from error

    @torch.inference_mode()
    def forward(self, batch: Batch) -> Outputs:
        """Run the model once for a whole batch: for each output the answer for each of its targets."""
        moved = batch.to(self.device)
        outputs: Outputs = self.model(moved.inputs, moved.texts)
        return outputs

    def decode(self, outputs: Outputs, samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return what is answered to each sample, as `/predict` writes it: plain Python values.

        Outputs that are sequences are not in it; see `generate`.
        """
        results: list[dict[str, Any]] = [{} for _ in samples]
        for name, decoder in self.outputs.items():
            if isinstance(decoder, SequenceDecoder):
                continue
            answers = {target: answer.float().cpu().numpy() for target, answer in outputs[name].items()}
            for result, value in zip(results, decoder.decode(answers), strict=True):
                result[name] = value
        return results

    @torch.inference_mode()
    def generate(self, samples: Sequence[Mapping[str, Any]], seed: int | None = None) -> list[dict[str, Any]]:
        """Return what is answered to each sample, with texts for outputs that are sequences.

        The same seed gives the same texts; None draws anew each time.
        """
        batch = self.encode(samples).to(self.device)
        features = self.model.read(batch.inputs)
        results = self.decode(self.model.answer(features, batch.texts), samples)
        random = torch.Generator(self.device)
        random.manual_seed(int(np.random.default_rng(seed).integers(2**62)))
        for name in sorted(self.model.sequences):
            texts = self.write(name, features, [sample[name] for sample in samples], random)
            for result, text in zip(results, texts, strict=True):
                result[name] = text
        return results

    @torch.inference_mode()
    def write(
        self, name: str, features: Mapping[str, torch.Tensor], prompts: Sequence[str], random: torch.Generator
    ) -> list[str]:
        """Generate the texts of an output, each with its prompt in front."""
        decoder = self.outputs[name]
        if not isinstance(decoder, SequenceDecoder):
            raise ArgumentValueError(f"the output {name!r} is no sequence")
        tokens = generate(
            lambda text: self.model.next_tokens(name, features, text),
            [decoder.tokenizer.encode(prompt) for prompt in prompts],
            decoder.config.sampling_config,
            decoder.length,
            random,
        )
        ends = [
            decoder.tokenizer.decode([*decoder.tokenizer.encode(prompt), *own])
            if prompt
            else decoder.tokenizer.decode(own)
            for prompt, own in zip(prompts, tokens, strict=True)
        ]
        return ends

    def predict(self, samples: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answer raw samples in one call: encode, run, decode or generate."""
        if self.needs_generation:
            return self.generate(samples)
        return self.decode(self.forward(self.encode(samples)), samples)


def load_codec(run: RunFolder, configuration: Configuration) -> Codec:
    """Read the fitted inputs and outputs of a run."""
    folder = run.serializations
    return Codec(
        {config.name: load_input(config, folder) for config in configuration.inputs},
        {config.name: load_output(config, folder) for config in configuration.outputs},
    )


def load_run(checkpoint_path: str | Path, device: str = "cpu") -> TrainedModel:
    """Load a trained model from a checkpoint; the folder of its run has to be around it.

    Nothing that a file says is executed. Raises CheckpointError.
    """
    path = Path(checkpoint_path)
    run = run_of(path)
    configuration = read_written(run.stripped_configs)
    codec = load_codec(run, configuration)
    model = Model(codec.inputs, configuration.fusion, codec.outputs)
    load_weights(model, path)
    try:
        return TrainedModel(model, codec, torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise ArgumentValueError(f"device {device!r} cannot be used: {str(error).splitlines()[0]}") from error
