"""Outputs: true values to arrays to learn from, and what the model answers to values that people understand."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import yaml
from numpy.typing import NDArray

from smartml.errors import DataError, SampleError
from smartml.training.inputs import (
    Encoded,
    cut,
    fit_length,
    fit_moments,
    load_moments,
    named,
    read_json,
    save_moments,
    serialization_folder,
)
from smartml.training.output_config import (
    ArrayOutputConfig,
    OutputConfig,
    SequenceOutputConfig,
    TabularOutputConfig,
)
from smartml.training.scales import Categories, Scale, fit_scale
from smartml.training.tokenization import BOS, EOS, PAD, Tokenizer, fit_tokenizer, load_tokenizer
from smartml.training.values import read_array, read_text

# What the model answers for one output: an array, batch first, for each of its targets.
Answers = Mapping[str, NDArray[Any]]


class OutputDecoder(Protocol):
    """One output of the model. A tabular one has a target for each column, others one, of the output's name."""

    config: OutputConfig

    @property
    def name(self) -> str:
        """What samples and results call it."""

    @property
    def type(self) -> str:
        """tabular, sequence or array."""

    @property
    def targets(self) -> list[str]:
        """Names of its targets."""

    def prepare(self, value: Any) -> Any:
        """Check a true value; None stands for a missing one. Raises SampleError."""

    def collate(self, prepared: Sequence[Any], random: np.random.Generator | None = None) -> Encoded:
        """Make a batch to learn from; `random` is given in training."""

    def decode(self, answers: Answers) -> list[Any]:
        """Return what `/predict` answers, for each sample of a batch; not for sequences, which are generated."""

    def describe(self) -> dict[str, Any]:
        """Say what a result looks like."""

    def save(self, folder: Path) -> None:
        """Write all that loading needs below the folder `serializations` of a run."""


class _Decoder:
    """What all types of output have in common."""

    def __init__(self, config: OutputConfig) -> None:
        self.config = config

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def type(self) -> str:
        return self.config.type

    @property
    def targets(self) -> list[str]:
        return [self.name]

    def _made_folder(self, folder: Path) -> Path:
        own = serialization_folder(folder, self.type, "output", self.name)
        own.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(self.config.written(), sort_keys=False)
        (own / "output_config.yaml").write_text(text, encoding="utf-8")
        return own


class TabularDecoder(_Decoder):
    """Columns. To learn from: classes (batch, columns), int64, -1 if missing; numbers (batch, columns), NaN if missing.

    Answers: of a category (batch, classes) or, with one logit for two classes, (batch, 1); of a number (batch,).
    """

    config: TabularOutputConfig

    def __init__(self, config: TabularOutputConfig, categories: list[Categories], scales: list[Scale]) -> None:
        super().__init__(config)
        self.categories = {it.name: it for it in categories}
        self.scales = {it.name: it for it in scales}

    @property
    def targets(self) -> list[str]:
        return [*self.categories, *self.scales]

    @property
    def has_one_logit(self) -> bool:
        return self.config.output_type_info.cat_loss_name == "BCEWithLogitsLoss"

    def size(self, target: str) -> int:
        """Return how many numbers the model answers for a target."""
        return 1 if target in self.scales or self.has_one_logit else len(self.categories[target].names)

    def prepare(self, value: Any) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        if not isinstance(value, Mapping | None):
            raise SampleError(f"is {type(value).__name__}, not columns with their values")
        row = value or {}
        codes = [categories.code(row.get(name)) for name, categories in self.categories.items()]
        numbers = [scale.scaled(named(name, row)) for name, scale in self.scales.items()]
        return np.array(codes, np.int64), np.array(numbers, np.float32)

    def collate(
        self, prepared: Sequence[Any], random: np.random.Generator | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        del random
        return np.stack([row[0] for row in prepared]), np.stack([row[1] for row in prepared])

    def probabilities(self, target: str, answer: NDArray[Any]) -> NDArray[np.float64]:
        """Return the probability of each class: (batch, classes)."""
        logits = answer.astype(np.float64)
        if self.has_one_logit:
            logits = np.concatenate([np.zeros_like(logits), logits], axis=1)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def decode(self, answers: Answers) -> list[Any]:
        columns: dict[str, list[dict[str, float]]] = {}
        for target, categories in self.categories.items():
            rows = self.probabilities(target, answers[target]).tolist()
            columns[target] = [dict(zip(categories.names, row, strict=True)) for row in rows]
        for target, scale in self.scales.items():
            numbers = scale.unscaled(answers[target].astype(np.float64)).tolist()
            columns[target] = [{target: number} for number in numbers]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    def describe(self) -> dict[str, Any]:
        columns: dict[str, Any] = {it.name: {"type": "category", "values": it.names} for it in self.categories.values()}
        return {"type": "tabular", "columns": columns | {name: {"type": "number"} for name in self.scales}}

    def save(self, folder: Path) -> None:
        self._made_folder(folder)
        for categories in self.categories.values():
            categories.save(folder, self.name)
        for scale in self.scales.values():
            scale.save(folder, self.name)

    @classmethod
    def fit(cls, config: TabularOutputConfig, values: Iterable[Any], held_out: Iterable[Any]) -> "TabularDecoder":
        rows, others = ([value for value in them if value is not None] for them in (values, held_out))
        info = config.output_type_info
        categories = []
        for name in info.target_cat_columns:
            # Classes that are held out alone are classes, too.
            found = Categories.fit(name, (row.get(name) for row in (*rows, *others)))
            _check_classes(found, info.cat_loss_name)
            categories.append(found)
        scales = [fit_scale(name, [named(name, row) for row in rows]) for name in info.target_con_columns]
        return cls(config, categories, scales)

    @classmethod
    def load(cls, config: TabularOutputConfig, folder: Path) -> "TabularDecoder":
        info = config.output_type_info
        return cls(
            config,
            [Categories.load(folder, config.name, name) for name in info.target_cat_columns],
            [Scale.load(folder, config.name, name) for name in info.target_con_columns],
        )


def _check_classes(found: Categories, loss: str) -> None:
    if len(found.names) < 2:
        raise DataError(f"target column {found.name!r} has the classes {found.names}: two are needed to learn anything")
    if loss == "BCEWithLogitsLoss" and len(found.names) != 2:
        raise DataError(
            f"target column {found.name!r} has {len(found.names)} classes; BCEWithLogitsLoss is for two: take "
            "CrossEntropyLoss"
        )


class SequenceDecoder(_Decoder):
    """Text. To learn from: what goes in, from BOS on, and what should come out, to EOS: both (batch, length), int64.

    Answers: (batch, length, vocabulary).
    """

    config: SequenceOutputConfig

    def __init__(self, config: SequenceOutputConfig, tokenizer: Tokenizer, length: int) -> None:
        super().__init__(config)
        self.tokenizer, self.length = tokenizer, length

    @property
    def size(self) -> int:
        return self.tokenizer.size

    def prepare(self, value: Any) -> NDArray[np.int32] | None:
        return None if value is None else np.array(self.tokenizer.encode(read_text(value)), np.int32)

    def collate(
        self, prepared: Sequence[Any], random: np.random.Generator | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        if self.config.output_type_info.sampling_strategy_if_longer != "uniform":
            random = None
        ended = [None if one is None else np.concatenate([one, [EOS]]) for one in prepared]
        after = cut(ended, self.length, PAD, random)
        before = np.concatenate([np.full((len(after), 1), BOS, np.int64), after[:, :-1]], axis=1)
        return before, after

    def decode(self, answers: Answers) -> list[Any]:
        raise TypeError("sequences are generated, token after token: use TrainedModel.generate")

    def describe(self) -> dict[str, Any]:
        most = self.config.sampling_config.generated_sequence_length
        return {"type": "sequence", "max_length": self.length, "generated_length": most, "vocabulary_size": self.size}

    def save(self, folder: Path) -> None:
        own = self._made_folder(folder)
        self.tokenizer.save(own)
        (own / "computed_max_length.json").write_text(json.dumps(self.length), encoding="utf-8")
        (own / "embedding_dim.json").write_text(json.dumps(self.config.settings.embedding_dim), encoding="utf-8")

    @classmethod
    def fit(cls, config: SequenceOutputConfig, values: Iterable[Any], held_out: Iterable[Any]) -> "SequenceDecoder":
        del held_out
        texts = [read_text(value) for value in values if value is not None]
        info = config.output_type_info
        tokenizer = fit_tokenizer(info, texts)
        length = fit_length(info.max_length, tokenizer, texts)
        # Room for the end, where the length is that of the texts.
        return cls(config, tokenizer, length if isinstance(info.max_length, int) else length + 1)

    @classmethod
    def load(cls, config: SequenceOutputConfig, folder: Path) -> "SequenceDecoder":
        own = serialization_folder(folder, "sequence", "output", config.name)
        return cls(config, load_tokenizer(config.output_type_info, own), read_json(own / "computed_max_length.json"))


class ArrayDecoder(_Decoder):
    """Numbers of one shape, standardised: (batch, *shape), float32, NaN if missing. Answers are of the same shape."""

    config: ArrayOutputConfig

    def __init__(self, config: ArrayOutputConfig, mean: NDArray[np.float32], deviation: NDArray[np.float32]) -> None:
        super().__init__(config)
        self.mean, self.deviation = mean, deviation

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mean.shape

    def prepare(self, value: Any) -> NDArray[np.float32]:
        if value is None:
            return np.full(self.shape, np.nan, np.float32)
        scaled: NDArray[np.float32] = (read_array(value, self.shape) - self.mean) / self.deviation
        return scaled

    def collate(self, prepared: Sequence[Any], random: np.random.Generator | None = None) -> NDArray[np.float32]:
        del random
        return np.stack(prepared)

    def unscaled(self, answer: NDArray[Any]) -> NDArray[np.float32]:
        """Return answers in the units of the data."""
        values: NDArray[np.float32] = (answer * self.deviation + self.mean).astype(np.float32)
        return values

    def decode(self, answers: Answers) -> list[Any]:
        values = self.unscaled(answers[self.name]).astype("<f4")
        return [base64.b64encode(row.tobytes()).decode("ascii") for row in values]

    def describe(self) -> dict[str, Any]:
        return {"type": "array", "shape": list(self.shape), "dtype": "<f4"}

    def save(self, folder: Path) -> None:
        save_moments(self._made_folder(folder), self.mean, self.deviation)

    @classmethod
    def fit(cls, config: ArrayOutputConfig, values: Iterable[Any], held_out: Iterable[Any]) -> "ArrayDecoder":
        del held_out
        return cls(config, *fit_moments(values, config.output_type_info.normalization))

    @classmethod
    def load(cls, config: ArrayOutputConfig, folder: Path) -> "ArrayDecoder":
        return cls(config, *load_moments(serialization_folder(folder, "array", "output", config.name)))


_DECODERS: dict[str, Any] = {"array": ArrayDecoder, "sequence": SequenceDecoder, "tabular": TabularDecoder}


def fit_output(config: OutputConfig, values: Iterable[Any], held_out: Iterable[Any]) -> OutputDecoder:
    """Make the decoder of an output from true values of training samples, and of those that are held out."""
    try:
        decoder: OutputDecoder = _DECODERS[config.type].fit(config, values, held_out)
    except SampleError as error:
        raise DataError(f"output {config.name!r}: a value of {config.source} {error}") from error
    return decoder


def load_output(config: OutputConfig, folder: Path) -> OutputDecoder:
    """Read the decoder of an output from the folder `serializations` of its run."""
    decoder: OutputDecoder = _DECODERS[config.type].load(config, folder)
    return decoder
