"""What live simulations put into a database, as samples of a run."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import numpy as np
from numpy.typing import NDArray

from smartml.errors import ConfigError, DataError
from smartml.feeds import DataDownloader, DataInfo
from smartml.store.similar import nearest_names
from smartml.training.arriving import Streamed
from smartml.training.batches import Sample
from smartml.training.config_files import Configuration
from smartml.training.input_config import InputConfig
from smartml.training.output_config import OutputConfig

# What an address may say of the tensors there.
_OPTIONS = ("list", "producers", "ranks")


class FeedData(Streamed):
    """What simulations put into a database: redis://host:port[?ranks=N][&list=NAME][&producers=A,B].

    The one input is tensors `<input name>_<iteration>` (`<input name>_<rank>_<iteration>` with ranks), whose first axis
    counts samples, the one output likewise; with a list, the tensors of its datasets that bear these names. A sample is
    called after what it holds, so that a resumed run knows it again.
    """

    def __init__(self, configuration: Configuration, held_out: Sequence[str] | None = None) -> None:
        super().__init__(configuration)
        if len(configuration.inputs) != 1 or len(configuration.outputs) != 1:
            raise ConfigError(f"{configuration.stream}: a database serves one input and one output")
        [self._input], [self._output] = configuration.inputs, configuration.outputs
        # By the feed's own numbers: names, which cost a pass over the data.
        self._names: dict[int, str] = {}
        preparation = configuration.globals.data_preparation
        self._feed = DataDownloader(
            **_feed_arguments(configuration),
            batch_size=self._basic.batch_size,
            seed=self._basic.seed,
            drop_last=False,
            return_info=True,
            init_samples=False,
            wait_timeout_s=preparation.streaming_wait_timeout_s,
        )
        try:
            self._part(self._gather(preparation.streaming_setup_samples), held_out)
            self._held = {sample.id for sample in self.held_out}
        except BaseException:
            self.close()
            raise

    def _gather(self, most: int) -> list[Sample]:
        """Wait until so many samples are there, or producers are done."""
        found: dict[str, Sample] = {}
        for _ in self._feed.epochs(until="producers_done"):
            for sample in self._rows():
                found[sample.id] = sample
                if len(found) >= most:
                    return list(found.values())
        return list(found.values())

    def _rows(self) -> Iterator[Sample]:
        for x, y, info in self._feed:
            for number, row, target in zip(info.ids.tolist(), x, y, strict=True):
                if number not in self._names:
                    self._names[number] = _name(row, target)
                yield Sample(
                    self._names[number],
                    {self._input.name: from_row(row, self._input)},
                    {self._output.name: from_row(target, self._output)},
                )

    def arriving(self) -> Iterator[Sample]:
        return (sample for sample in self._rows() if sample.id not in self._held)

    def close(self) -> None:
        self._feed.close()


def _feed_arguments(configuration: Configuration) -> dict[str, Any]:
    assert configuration.stream is not None
    url = urlsplit(configuration.stream)
    if url.username or url.password:
        raise ConfigError("redis://: no credentials in an address: the file that SMARTML_DB_AUTH names holds them")
    options = dict(parse_qsl(url.query))
    for name in options:
        if name not in _OPTIONS:
            near = nearest_names(name, _OPTIONS)
            hint = f", perhaps {near[0]!r}" if near else ""
            raise ConfigError(f"{configuration.stream}: unknown option {name!r}{hint}; known are {', '.join(_OPTIONS)}")
    sample, target = configuration.inputs[0].name, configuration.outputs[0].name
    arguments: dict[str, Any] = {"address": url.netloc}
    if "producers" in options:
        arguments["producer_prefixes"] = options["producers"].split(",")
    if "list" in options:
        return arguments | {"data_info_or_list_name": DataInfo(options["list"], sample, target)}
    ranks = options.get("ranks")
    if ranks is not None and not ranks.isdecimal():
        raise ConfigError(f"{configuration.stream}: ranks is {ranks!r}, not a number")
    return arguments | {
        "sample_prefix": sample,
        "target_prefix": target,
        "uploader_ranks": None if ranks is None else int(ranks),
    }


def _name(*rows: NDArray[Any]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for row in rows:
        digest.update(np.ascontiguousarray(row).tobytes())
    return digest.hexdigest()


def from_row(row: NDArray[Any], config: InputConfig | OutputConfig) -> Any:
    """Return the value that a row of a tensor stands for.

    bytes and sequence: uint8, of text in UTF-8, zeros at the end left out; tabular: the numbers of the columns, those
    of categories first; array and image: as it is.
    """
    if config.type == "bytes":
        return row
    if config.type == "sequence":
        try:
            return row.astype(np.uint8, casting="safe").tobytes().rstrip(b"\0").decode("utf-8")
        except (TypeError, UnicodeDecodeError) as error:
            raise DataError(f"{config.name!r}: a row of {row.dtype.name} is no text in UTF-8: {error}") from error
    if config.type == "tabular":
        info = config.input_type_info if isinstance(config, InputConfig) else config.output_type_info
        side = "input" if isinstance(config, InputConfig) else "target"
        columns = [*getattr(info, f"{side}_cat_columns"), *getattr(info, f"{side}_con_columns")]
        values = np.atleast_1d(row).ravel().tolist()
        if len(values) != len(columns):
            raise DataError(
                f"{config.name!r}: a row has {len(values)} numbers, there are {len(columns)} columns: "
                f"{', '.join(columns)}"
            )
        return dict(zip(columns, values, strict=True))
    return np.atleast_1d(row)
