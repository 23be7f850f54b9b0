"""What can be served: streams of the pipeline, feeds, recordings, iterables; and how their items become samples."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from smartml.errors import ArgumentTypeError, ArgumentValueError
from smartml.feeds import DataDownloader, DataInfo
from smartml.feeds.live import RedisSource
from smartml.feeds.recording import Recording
from smartml.feeds.schemes import KeyScheme
from smartml.feeds.stream import rows_of
from smartml.pipeline import Composable, IterableSource
from smartml.streaming.protocol import Info
from smartml.streaming.samples import Sample
from smartml.streaming.window import Readable

# As in DataInfo, for items that do not say what they are called.
DEFAULT_NAMES = ("samples", "targets")


@dataclass(frozen=True)
class Source:
    """Something to be served."""

    open: Callable[[], Readable]
    # Whether another pass gives the same samples in the same order.
    is_replayable: bool
    # What an item is called, and what belongs to it, where it does not say so itself.
    names: tuple[str, str] = DEFAULT_NAMES


def load_source(name: str) -> Any:
    """Return what a command names: the folder of a recording, or `module:name` or `file.py:name` of a Python object.

    Raises ArgumentValueError where there is no such thing.
    """
    module, colon, attribute = name.rpartition(":")
    if not colon:
        if Path(name).is_dir():
            return Recording(name)
        raise ArgumentValueError(f"there is no folder {name!r}; a Python object is named module:name or file.py:name")
    try:
        return attrgetter(attribute)(_load_module(module))
    except (ImportError, AttributeError, OSError) as error:
        raise ArgumentValueError(f"{name!r} cannot be served: {error}") from error


def _load_module(name: str) -> Any:
    if not name.endswith(".py"):
        # As for `python -m`.
        sys.path.insert(0, "")
        return importlib.import_module(name)
    spec = importlib.util.spec_from_file_location(Path(name).stem, name)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # What lies beside it can be imported, as when it is run.
    sys.path.insert(0, str(Path(name).resolve().parent))
    sys.modules[module.__name__] = module
    spec.loader.exec_module(module)
    return module


def as_source(source: Any) -> Source:
    """Return what there is to serve; raises ArgumentTypeError for what cannot be served.

    A stream of the pipeline; a `DataDownloader`, sample by sample; the folder of a recording; an iterable, or a
    function without arguments that returns one.
    """
    if isinstance(source, str | Path):
        source = Recording(source)
    if isinstance(source, Recording):
        chain: Composable = IterableSource(_Recorded(source))
        return Source(chain.begin, True, _names_of(source.header.scheme))
    if isinstance(source, DataDownloader):
        source = source.stream(samples=True)
    if not isinstance(source, Composable):
        if not isinstance(source, Iterable) and not callable(source):
            raise ArgumentTypeError(
                "a stream, a feed, the folder of a recording, an iterable or a function that returns one can be "
                f"served, not {type(source).__name__}"
            )
        source = IterableSource(source)
    root = _root(source)
    names = _names_of(root.scheme) if isinstance(root, RedisSource) else DEFAULT_NAMES
    return Source(lambda: source.begin(source.take_state()), _is_replayable(source), names)


class _Recorded:
    """The samples of a recording, in the order in which they came."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def __iter__(self) -> Iterator[Any]:
        for batch in self._recording.batches:
            arrays = self._recording.read(batch)
            yield from rows_of(arrays if len(arrays) > 1 else arrays[0])


def _names_of(scheme: KeyScheme | DataInfo) -> tuple[str, str]:
    if isinstance(scheme, KeyScheme):
        return scheme.sample_prefix, scheme.target_prefix or DEFAULT_NAMES[1]
    return scheme.sample_name, scheme.target_name or DEFAULT_NAMES[1]


def _root(stream: Composable) -> Composable:
    while isinstance(stream.source, Composable):
        stream = stream.source
    return stream


def _is_replayable(stream: Composable) -> bool:
    """Tell whether it is known to give the same twice: what functions return, and where chance has a part, is not."""
    steps = [stream]
    while isinstance(steps[-1].source, Composable):
        steps.append(steps[-1].source)
    is_sequence = type(steps[-1]) is IterableSource and isinstance(steps[-1].source, Sequence | np.ndarray | _Recorded)
    return is_sequence and not any(step.has_own_order for step in steps)


def as_sample(item: Any, position: int, names: tuple[str, str] = DEFAULT_NAMES, info: Info | None = None) -> Sample:
    """Make a sample of an item.

    A `Sample`, or a mapping of the same three names, is one; without a `sample_id` it is named for its position. Of a
    pair, the second is the target. Mappings hold features by name; anything else is the one feature that `names` tells,
    as are columns where `info` knows no features of these names.
    """
    if isinstance(item, Sample):
        return item
    inputs: Any = item
    targets: Any = {}
    sample_id = f"s{position}"
    if isinstance(item, tuple):
        if len(item) == 2:
            inputs, targets = item
    elif _is_mapping(item) and "inputs" in item and item.keys() <= {*Sample._fields}:
        given = item.get("sample_id")
        return Sample(item["inputs"], item.get("target_labels") or {}, sample_id if given is None else given)
    known_inputs, known_targets = (None, None) if info is None else (info.inputs, info.outputs)
    return Sample(_named(inputs, names[0], known_inputs), _named(targets, names[1], known_targets), sample_id)


def _is_mapping(value: Any) -> bool:
    # Most are, which is quicker to see than what others are.
    return type(value) is dict or isinstance(value, Mapping)


def _named(value: Any, name: str, known: Mapping[str, Any] | None) -> Mapping[str, Any]:
    is_by_name = _is_mapping(value) and (known is None or name not in known or value.keys() <= known.keys())
    return value if is_by_name else {name: value}
