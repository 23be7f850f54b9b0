"""Inputs: raw values to arrays for the model. Fitted on the training samples, saved as files, used by serving as well.

An encoder works in two steps: `prepare` checks a raw value and does what is the same each time (text to tokens, say);
`collate` makes a batch of prepared ones, of which training draws another part each time.
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import numpy as np
import yaml
from numpy.typing import NDArray

from smartml.errors import CheckpointError, DataError, SampleError
from smartml.training.input_config import (
    ArrayInputConfig,
    BytesInputConfig,
    ImageInputConfig,
    InputConfig,
    SequenceInputConfig,
    TabularInputConfig,
)
from smartml.training.scales import Categories, Scale, fit_scale
from smartml.training.tokenization import PAD, SPECIALS, Tokenizer, fit_tokenizer, load_tokenizer
from smartml.training.values import read_array, read_bytes, read_columns, read_image, read_number, read_text

# What the model gets of one input: an array with the batch as first axis, or several.
Encoded: TypeAlias = "NDArray[Any] | tuple[NDArray[Any], ...]"

# Raw bytes keep their own numbers; the special tokens follow.
_BYTES = 256


class InputEncoder(Protocol):
    """One input of the model."""

    config: InputConfig

    @property
    def name(self) -> str:
        """What samples call it."""

    @property
    def type(self) -> str:
        """bytes, sequence, tabular, array or image."""

    def prepare(self, value: Any) -> Any:
        """Check a raw value; None stands for a missing one. Raises SampleError."""

    def collate(self, prepared: Sequence[Any], random: np.random.Generator | None = None) -> Encoded:
        """Make a batch; `random` is given in training."""

    def describe(self) -> dict[str, Any]:
        """Say what a raw value looks like, for a person or program that sends one."""

    def save(self, folder: Path) -> None:
        """Write all that loading needs below the folder `serializations` of a run."""


def cut(
    tokens: Sequence[NDArray[Any] | None], length: int, pad: int, random: np.random.Generator | None
) -> NDArray[np.int64]:
    """Make rows of one length: shorter ones padded on the right, of longer ones a part; None is all padding."""
    rows = np.full((len(tokens), length), pad, np.int64)
    for row, own in zip(rows, tokens, strict=True):
        if own is not None:
            first = 0 if random is None or len(own) <= length else int(random.integers(len(own) - length + 1))
            part = own[first : first + length]
            row[: len(part)] = part
    return rows


def drop_some(prepared: Sequence[Any], rate: float, random: np.random.Generator | None) -> Sequence[Any]:
    """Leave out values, at random, in training."""
    if random is None or not rate:
        return prepared
    return [
        None if dropped else one for one, dropped in zip(prepared, random.random(len(prepared)) < rate, strict=True)
    ]


class _Encoder:
    """What all types of input have in common."""

    def __init__(self, config: InputConfig) -> None:
        self.config = config

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def type(self) -> str:
        return self.config.type

    def _random(self, random: np.random.Generator | None) -> np.random.Generator | None:
        """Of what draws parts of what is longer."""
        is_uniform = self.config.input_type_info.sampling_strategy_if_longer == "uniform"
        return random if is_uniform else None

    def _dropped(self, prepared: Sequence[Any], random: np.random.Generator | None) -> Sequence[Any]:
        return drop_some(prepared, self.config.input_type_info.modality_dropout_rate, random)

    def _made_folder(self, folder: Path) -> Path:
        own = serialization_folder(folder, self.type, "input", self.name)
        own.mkdir(parents=True, exist_ok=True)
        (own / "input_config.yaml").write_text(yaml.safe_dump(self.config.written(), sort_keys=False), encoding="utf-8")
        return own


def serialization_folder(folder: Path, kind: str, side: str, name: str) -> Path:
    """Return where an input's or output's state lies below `serializations`."""
    return folder / f"{kind}_{side}_serializations" / name


def read_json(path: Path) -> Any:
    """Read one of the files that were saved with a run, or raise CheckpointError."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: a file of the run cannot be read: {error}") from error


class BytesEncoder(_Encoder):
    """Raw bytes: (batch, max_length), int64."""

    config: BytesInputConfig
    pad = _BYTES + PAD
    size = _BYTES + len(SPECIALS)

    @property
    def length(self) -> int:
        return self.config.input_type_info.max_length

    def prepare(self, value: Any) -> NDArray[np.uint8] | None:
        return None if value is None else read_bytes(value)

    def collate(self, prepared: Sequence[Any], random: np.random.Generator | None = None) -> NDArray[np.int64]:
        return cut(self._dropped(prepared, random), self.length, self.pad, self._random(random))

    def describe(self) -> dict[str, Any]:
        return {"type": "bytes", "max_length": self.length}

    def save(self, folder: Path) -> None:
        own = self._made_folder(folder)
        numbers = {str(byte): byte for byte in range(_BYTES)}
        numbers |= {name: _BYTES + number for number, name in enumerate(SPECIALS)}
        (own / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
        (own / "computed_max_length.json").write_text(json.dumps(self.length), encoding="utf-8")

    @classmethod
    def fit(cls, config: BytesInputConfig, values: Iterable[Any]) -> "BytesEncoder":
        del values  # Every byte is known.
        return cls(config)

    @classmethod
    def load(cls, config: BytesInputConfig, folder: Path) -> "BytesEncoder":
        del folder
        return cls(config)


class SequenceEncoder(_Encoder):
    """Text: (batch, length), int64."""

    config: SequenceInputConfig
    pad = PAD

    def __init__(self, config: SequenceInputConfig, tokenizer: Tokenizer, length: int) -> None:
        super().__init__(config)
        self.tokenizer, self.length = tokenizer, length

    @property
    def size(self) -> int:
        return self.tokenizer.size

    def prepare(self, value: Any) -> NDArray[np.int32] | None:
        return None if value is None else np.array(self.tokenizer.encode(read_text(value)), np.int32)

    def collate(self, prepared: Sequence[Any], random: np.random.Generator | None = None) -> NDArray[np.int64]:
        return cut(self._dropped(prepared, random), self.length, self.pad, self._random(random))

    def describe(self) -> dict[str, Any]:
        return {"type": "sequence", "max_length": self.length, "vocabulary_size": self.size}

    def save(self, folder: Path) -> None:
        own = self._made_folder(folder)
        self.tokenizer.save(own)
        (own / "computed_max_length.json").write_text(json.dumps(self.length), encoding="utf-8")

    @classmethod
    def fit(cls, config: SequenceInputConfig, values: Iterable[Any]) -> "SequenceEncoder":
        texts = [read_text(value) for value in values if value is not None]
        tokenizer = fit_tokenizer(config.input_type_info, texts)
        return cls(config, tokenizer, fit_length(config.input_type_info.max_length, tokenizer, texts))

    @classmethod
    def load(cls, config: SequenceInputConfig, folder: Path) -> "SequenceEncoder":
        own = serialization_folder(folder, "sequence", "input", config.name)
        return cls(config, load_tokenizer(config.input_type_info, own), read_json(own / "computed_max_length.json"))


def fit_length(max_length: int | str, tokenizer: Tokenizer, texts: Sequence[str]) -> int:
    """Return a length in tokens that is given, or that of the average or longest text."""
    if isinstance(max_length, int):
        return max_length
    lengths = [len(tokenizer.encode(text)) for text in texts] or [1]
    return max(1, max(lengths) if max_length == "max" else round(sum(lengths) / len(lengths)))


class TabularEncoder(_Encoder):
    """Columns: categories (batch, columns), int64, of which 0 is a missing one; numbers (batch, columns), float32."""

    config: TabularInputConfig

    def __init__(self, config: TabularInputConfig, categories: list[Categories], scales: list[Scale]) -> None:
        super().__init__(config)
        self.categories, self.scales = categories, scales

    @property
    def _columns(self) -> list[str]:
        info = self.config.input_type_info
        return [*info.input_cat_columns, *info.input_con_columns]

    def prepare(self, value: Any) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
        if value is None:
            return None
        row = read_columns(value, self._columns, are_all_needed=True)
        codes = [1 + categories.code(row[categories.name]) for categories in self.categories]
        numbers = [scale.scaled(named(scale.name, row)) for scale in self.scales]
        return np.array(codes, np.int64), np.nan_to_num(np.array(numbers, np.float32))

    def collate(
        self, prepared: Sequence[Any], random: np.random.Generator | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        nothing = (np.zeros(len(self.categories), np.int64), np.zeros(len(self.scales), np.float32))
        rows = [nothing if one is None else one for one in self._dropped(prepared, random)]
        return np.stack([row[0] for row in rows]), np.stack([row[1] for row in rows])

    def describe(self) -> dict[str, Any]:
        columns: dict[str, Any] = {it.name: {"type": "category", "values": it.names} for it in self.categories}
        return {"type": "tabular", "columns": columns | {it.name: {"type": "number"} for it in self.scales}}

    def save(self, folder: Path) -> None:
        self._made_folder(folder)
        for categories in self.categories:
            categories.save(folder, self.name)
        for scale in self.scales:
            scale.save(folder, self.name)

    @classmethod
    def fit(cls, config: TabularInputConfig, values: Iterable[Any]) -> "TabularEncoder":
        rows = [value for value in values if value is not None]
        info = config.input_type_info
        return cls(
            config,
            [Categories.fit(name, (row.get(name) for row in rows)) for name in info.input_cat_columns],
            [fit_scale(name, [named(name, row) for row in rows]) for name in info.input_con_columns],
        )

    @classmethod
    def load(cls, config: TabularInputConfig, folder: Path) -> "TabularEncoder":
        info = config.input_type_info
        return cls(
            config,
            [Categories.load(folder, config.name, name) for name in info.input_cat_columns],
            [Scale.load(folder, config.name, name) for name in info.input_con_columns],
        )


def named(column: str, row: Any) -> float:
    """Read a number of a row; an error names the column."""
    try:
        return read_number(row.get(column))
    except SampleError as error:
        raise SampleError(f"column {column!r}: {error}") from error


class ArrayEncoder(_Encoder):
    """Numbers of one shape: (batch, *shape), float32, standardised; missing ones are their mean."""

    config: ArrayInputConfig

    def __init__(self, config: ArrayInputConfig, mean: NDArray[np.float32], deviation: NDArray[np.float32]) -> None:
        super().__init__(config)
        self.mean, self.deviation = mean, deviation

    @property
    def shape(self) -> tuple[int, ...]:
        return self.mean.shape

    def prepare(self, value: Any) -> NDArray[np.float32] | None:
        if value is None:
            return None
        scaled: NDArray[np.float32] = (read_array(value, self.shape) - self.mean) / self.deviation
        return scaled

    def collate(self, prepared: Sequence[Any], random: np.random.Generator | None = None) -> NDArray[np.float32]:
        nothing = np.zeros(self.shape, np.float32)
        return np.stack([nothing if one is None else one for one in self._dropped(prepared, random)])

    def describe(self) -> dict[str, Any]:
        return {"type": "array", "shape": list(self.shape), "dtype": "<f4"}

    def save(self, folder: Path) -> None:
        save_moments(self._made_folder(folder), self.mean, self.deviation)

    @classmethod
    def fit(cls, config: ArrayInputConfig, values: Iterable[Any]) -> "ArrayEncoder":
        return cls(config, *fit_moments(values, config.input_type_info.normalization))

    @classmethod
    def load(cls, config: ArrayInputConfig, folder: Path) -> "ArrayEncoder":
        return cls(config, *load_moments(serialization_folder(folder, "array", "input", config.name)))


def fit_moments(values: Iterable[Any], kind: str | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return mean and deviation of arrays, both of their shape; deviations of nothing that varies are 1."""
    number, mean, squares = 0, np.zeros(0), np.zeros(0)
    for value in values:
        if value is None:
            continue
        array = read_array(value, mean.shape if number else None).astype(np.float64)
        if not number:
            if not 1 <= array.ndim <= 4:
                raise SampleError(f"has {array.ndim} axes; arrays have one to four")
            mean, squares = np.zeros(array.shape), np.zeros(array.shape)
        # Welford's way, which loses nothing to cancellation (Knuth, The Art of Computer Programming 2, 4.2.2).
        number += 1
        difference = array - mean
        mean += difference / number
        squares += difference * (array - mean)
    if not number:
        raise DataError("there is no array to learn shape and scale from")
    variance = squares / number
    if kind == "channel":
        rest = tuple(range(1, mean.ndim))
        middle = mean.mean(rest, keepdims=True)
        variance = np.broadcast_to((variance + (mean - middle) ** 2).mean(rest, keepdims=True), mean.shape)
        mean = np.broadcast_to(middle, mean.shape)
    elif kind is None:
        mean, variance = np.zeros_like(mean), np.ones_like(mean)
    deviation = np.sqrt(variance)
    # What hardly varies beside its size is rounding.
    is_flat = deviation <= 1e-6 * np.maximum(np.abs(mean), 1e-30)
    return mean.astype(np.float32), np.where(is_flat, 1, deviation).astype(np.float32)


def save_moments(folder: Path, mean: NDArray[np.float32], deviation: NDArray[np.float32]) -> None:
    """Write what an array is standardised by."""
    np.savez(folder / "normalization.npz", mean=mean, deviation=deviation)


def load_moments(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Read what `save_moments` has written."""
    path = folder / "normalization.npz"
    try:
        with np.load(path, allow_pickle=False) as stored:
            return stored["mean"], stored["deviation"]
    except (OSError, ValueError, KeyError) as error:
        raise CheckpointError(f"{path}: a file of the run cannot be read: {error}") from error


class ImageEncoder(_Encoder):
    """Pictures: (batch, channels, height, width), float32, standardised by channel."""

    config: ImageInputConfig

    def __init__(self, config: ImageInputConfig, mean: NDArray[np.float32], deviation: NDArray[np.float32]) -> None:
        super().__init__(config)
        # (channels, 1, 1), of values in 0..1.
        self.mean, self.deviation = mean, deviation

    @property
    def shape(self) -> tuple[int, int, int]:
        info = self.config.input_type_info
        return (len(info.mode), info.size[0], info.size[-1])

    def prepare(self, value: Any) -> NDArray[np.uint8] | None:
        _, height, width = self.shape
        return None if value is None else read_image(value, height, width, self.config.input_type_info.mode)

    def collate(self, prepared: Sequence[Any], random: np.random.Generator | None = None) -> NDArray[np.float32]:
        rows = np.zeros((len(prepared), *self.shape), np.float32)
        for row, picture in zip(rows, self._dropped(prepared, random), strict=True):
            if picture is not None:
                row[:] = (picture.transpose(2, 0, 1).astype(np.float32) / 255 - self.mean) / self.deviation
        return rows

    def describe(self) -> dict[str, Any]:
        return {"type": "image", "shape": list(self.shape), "mode": self.config.input_type_info.mode}

    def save(self, folder: Path) -> None:
        save_moments(self._made_folder(folder), self.mean, self.deviation)

    @classmethod
    def fit(cls, config: ImageInputConfig, values: Iterable[Any]) -> "ImageEncoder":
        info = config.input_type_info
        channels = len(info.mode)
        if info.mean_normalization_values is not None and info.stds_normalization_values is not None:
            given = (info.mean_normalization_values, info.stds_normalization_values)
            mean, deviation = (np.array(it, np.float32).reshape(channels, 1, 1) for it in given)
            return cls(config, mean, deviation)
        plain = cls(config, np.zeros((channels, 1, 1), np.float32), np.ones((channels, 1, 1), np.float32))
        pictures = (plain.collate([plain.prepare(value)])[0] for value in values if value is not None)
        mean, deviation = fit_moments(pictures, "channel")
        return cls(config, mean[:, :1, :1], deviation[:, :1, :1])

    @classmethod
    def load(cls, config: ImageInputConfig, folder: Path) -> "ImageEncoder":
        return cls(config, *load_moments(serialization_folder(folder, "image", "input", config.name)))


_ENCODERS: dict[str, Any] = {
    "array": ArrayEncoder,
    "bytes": BytesEncoder,
    "image": ImageEncoder,
    "sequence": SequenceEncoder,
    "tabular": TabularEncoder,
}


def fit_input(config: InputConfig, values: Iterable[Any]) -> InputEncoder:
    """Make the encoder of an input from raw values of training samples."""
    try:
        encoder: InputEncoder = _ENCODERS[config.type].fit(config, values)
    except SampleError as error:
        raise DataError(f"input {config.name!r}: a value of {config.source} {error}") from error
    return encoder


def load_input(config: InputConfig, folder: Path) -> InputEncoder:
    """Read the encoder of an input from the folder `serializations` of its run."""
    encoder: InputEncoder = _ENCODERS[config.type].load(config, folder)
    return encoder
