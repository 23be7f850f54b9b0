"""The chain: a description of steps that can be iterated again, copied and pickled, and the pass over it."""

from __future__ import annotations

import copy
import inspect
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from functools import partial
from itertools import chain
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar, cast

from smartml.errors import ArgumentTypeError, ArgumentValueError, StateError
from smartml.pipeline import dask, explain, numba, parallel, shuffle, steps, windows
from smartml.pipeline.policies import ErrorPolicy, Raise
from smartml.pipeline.stage import Plain, Replayed, Sourced, Stage, State

if TYPE_CHECKING:
    from typing_extensions import Self

    from smartml.pipeline.torch import TorchIterable

_VERSION = 1


class Store(Protocol):
    """What `sink` writes to and `prefetch` reads from."""

    def set(self, value: Any) -> Any:
        """Keep a value under a new key."""

    def get(self, key: Any) -> Any:
        """Return the value, or an iterator over several."""

    def keys(self) -> Iterable[Any]:
        """Return the keys."""


class Pass(chain[Any]):
    """One pass over a chain: an iterator that tells where it stands.

    It inherits from a C iterator, so that items go from the last step to whoever asks without a line of Python.
    `close` ends it early, as does letting go of it: what waits is cancelled, and what runs is waited for.
    """

    _stream: Composable
    _begun: list[Any]

    def __new__(cls, stream: Composable) -> Self:
        """Begin a pass, where `load_state_dict` said if it did."""
        # The stage, then the generator that gives its items, once the first one was asked for.
        begun: list[Any] = [stream.begin(stream.take_state())]
        self = cast("Self", cls.from_iterable(_first_asked(begun)))
        self._stream, self._begun = stream, begun
        return self

    def __init__(self, stream: Composable) -> None:
        super().__init__()

    def state_dict(self) -> dict[str, Any]:
        """Tell where the pass stands: between two items, at any time, in the thread that reads it."""
        return _state_of(self._stream, self._begun[0])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Begin there instead; the first item must not have been asked for."""
        if len(self._begun) > 1:
            raise StateError("a pass that has begun cannot go elsewhere: load the state into the chain, and iterate it")
        self._begun[0] = self._stream.begin(_place_in(self._stream, state_dict))

    def close(self) -> None:
        """End the pass and all that works for it."""
        self._begun[0].stop()
        if len(self._begun) > 1:
            self._begun[1].close()
        else:
            self._begun.append(None)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("a pass cannot be pickled or copied: pickle the chain, and the pass's state_dict() beside it")

    __copy__ = __deepcopy__ = None


def _first_asked(begun: list[Any]) -> Iterator[Iterator[Any]]:
    # Closed before the first item.
    if len(begun) > 1:
        return
    items = begun[0].items()
    if not isinstance(items, Generator):
        items = _closable(items)
    begun.append(items)
    yield items


def _closable(items: Iterator[Any]) -> Iterator[Any]:
    yield from items


StepType = TypeVar("StepType", bound="Composable")


class Composable:
    """A chain of steps, named by its last one: each method adds a step, and nothing runs before the first item.

    A step of one's own is a class with a generator function `__iter__` that reads `self.source`; `compose` adds it.
    The attribute `source` leads upstream.

    Iterating begins a `Pass`, with a state of its own: two passes at once do not touch each other. `state_dict` tells
    where the pass begun last stands, and `load_state_dict` makes the next one begin there: the protocol of torchdata's
    StatefulDataLoader. A state holds no items. It is exact to the item, for every step: what was held back (in a
    buffer, a window, at work) is read again. Sources are read forward by count; one that has `state_dict` and
    `load_state_dict`, itself or its iterator, is asked instead. What `to` or a class of one's own made is run again
    from the start of the pass.
    """

    source: Any = None
    # By whom it splits the stream: "rank", "worker". What serves each its part by itself is split, too.
    splits: frozenset[str] = frozenset()
    # The stage of the pass begun last, and where the next one begins. Nothing else here changes after it was built.
    _last: Stage | None = None
    _next: State = None

    def __init__(self, source: Any = None) -> None:
        self.source = source

    def __iter__(self) -> Iterator[Any]:
        return Pass(self)

    def begin(self, state: State = None, meters: explain.Meters | None = None) -> Stage:
        """Begin this step's part in a pass, from the beginning or where it stood; steps in this package override it."""
        if type(self).__iter__ is Composable.__iter__:
            raise ArgumentTypeError(f"{type(self).__name__} has no __iter__, which makes it a step")
        return explain.met(_Own(self, state, meters), self, meters)

    @property
    def has_own_order(self) -> bool:
        """Whether another process that runs the same step may see another order of the same items."""
        return False

    def source_(self, source: Any) -> Self:
        """Read from there, and return self."""
        self.source = source
        return self

    # Where a pass stands

    def state_dict(self) -> dict[str, Any]:
        """Tell where the pass begun last stands, to the item that its reader was given last."""
        if self._next is not None:
            return _packed(self, self._next)
        if self._last is None:
            raise StateError(f"no pass of this chain was begun yet: {_names(self)}")
        return _state_of(self, self._last)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Let the next pass begin where another one stood, of this chain or of one built alike."""
        self._next = _place_in(self, state_dict)

    def take_state(self) -> State:
        """Return where the next pass begins, and let the one after it begin anew."""
        state, self._next = self._next, None
        return state

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "_last"}

    # Plain steps

    def map(self, callback: Callable[..., Any], *, on_error: ErrorPolicy | None = None, **kw: Any) -> Composable:
        """Call a function of each item; `kw` go to it."""
        if on_error is None or isinstance(on_error, Raise):
            return Step(self, "map", steps.Mapped, callback, kw)
        return Step(self, "map", steps.GuardedMapped, callback, kw, on_error)

    def filter(self, predicate: Callable[[Any], object]) -> Composable:
        """Keep the items of which a predicate is true."""
        return Step(self, "filter", Plain, steps.filtered, predicate)

    def flatten(self) -> Composable:
        """Give the items of each item, one level down."""
        return Step(self, "flatten", steps.Flattened)

    def take(self, n: int | None) -> Composable:
        """Give the first n items and pull no others; None takes all."""
        return self if n is None else Step(self, "take", steps.Taken, n)

    def loop(self, n: int | None = None) -> Loop:
        """Go through upstream n times, for ever if n is None; its `counter` tells how many rounds are done.

        Each round is a pass of its own; items are not copied, so that a map which changes them in place sees its own
        changes. Raises SpentSourceError where the source is an iterator, which has only one round in it.
        """
        return Loop(self, "loop", steps.Looped, n)

    def zip_index(self, pad_length: int | None = None) -> Composable:
        """Give (number, item), from 0 in each pass; with `pad_length` numbers are texts with zeros in front."""
        return Step(self, "zip_index", steps.Indexed, pad_length)

    def tqdm(self, **kw: Any) -> Composable:
        """Show a progress bar; `kw` go to `tqdm.tqdm`."""
        return Step(self, "tqdm", Plain, steps.barred, kw)

    def monitor(
        self,
        callback: Callable[..., object],
        prefix: str | None = None,
        metrics_conf: Any = None,
        window_size: int = 5,
        **kw: Any,
    ) -> Composable:
        """Tell a callback how many items, and how much data, come by per second, over the last `window_size` items.

        callback: `wandb.log`, `mlflow.log_metrics` or whatever takes one dict, before each item is handed on; its keys
        begin with the prefix. `kw` go to it. metrics_conf: a MetricsConf, or the class for its defaults.

        Monitors with different prefixes may stand in one chain; each measures all that is upstream of it. W&B takes any
        prefix; MLflow allows no parentheses in names: "before async_map: " passes, "(before async_map) " does not.
        Upstream of `async_map` the callback runs in the thread that reads ahead, in which MLflow knows no active run:
        `monitor(mlflow.log_metrics, run_id=run.info.run_id)`.
        """
        steps.check_callable("monitor", callback)
        # What no meter takes is refused now, not in a pass.
        steps.rate_meter(window_size, metrics_conf)
        return Step(self, "monitor", Plain, steps.monitored, callback, prefix or "", metrics_conf, window_size, kw)

    # Windows and order

    def batched(
        self,
        batchsize: int,
        collation_fn: Callable[[list[Any]], Any] | None = None,
        drop_last_if_not_full: bool = True,
    ) -> Composable:
        """Give lists of `batchsize` items, or what `collation_fn` makes of them; a shorter last one if it is wanted."""
        return Step(self, "batched", windows.Batched, batchsize, collation_fn, drop_last_if_not_full)

    def sliding(
        self,
        window_size: int,
        *,
        deepcopy: bool,
        stride: int = 1,
        drop_last_if_not_full: bool = True,
        min_window_size: int = 1,
        fill_nan_on_partial: bool = False,
    ) -> Composable:
        """Give lists of `window_size` items in a row, each `stride` further on; they share items unless `deepcopy`.

        Shorter windows at the end are dropped, unless `drop_last_if_not_full` is false: then those of at least
        `min_window_size` come, or all, filled with None, if `fill_nan_on_partial`.
        """
        partly = (drop_last_if_not_full, min_window_size, fill_nan_on_partial)
        return Step(self, "sliding", windows.Sliding, window_size, deepcopy, stride, *partly)

    def shuffle(
        self, size: int | None = 1000, *, initial: int = 100, rng: Any = None, seed: shuffle.Seed | None = None
    ) -> Composable:
        """Give items in random order, each drawn from a buffer of `size`; fewer than 2 leave the order.

        The first item comes when `initial` are in the buffer, which grows by one per item. With a seed, all passes have
        the same order, in every process. With a `random.Random`, passes differ, and repeat whenever it begins the same:
        one number is drawn from it per pass, and it is never seeded. With neither, each pass is another.
        """
        size = 1000 if size is None else size
        if isinstance(size, int) and size < 2:
            return self
        return Step(self, "shuffle", shuffle.Shuffled, size, initial, rng, seed)

    # Parallel steps

    def async_map(
        self,
        callback: Callable[..., Any],
        buffer: int = 100,
        max_workers: int | None = None,
        executor: Any = None,
        *,
        ordered: bool = True,
        chunk_size: int = 1,
        on_error: ErrorPolicy | None = None,
        **kw: Any,
    ) -> Composable:
        """Call a function of several items at once; `kw` go to it.

        A thread of its own reads upstream ahead of the reader: at most `buffer` items are at work or wait to be given.
        An error comes out at its item, as the exception that was raised, with `item_index` set. Ending a pass cancels
        what has not started.

        executor: None for `max_workers` threads, which live as long as the pass; any `concurrent.futures.Executor` or
        a `dask.distributed.Client`, which are the caller's to close; or "numba", which is `numba_map`.
        ordered: give results in the order of the items, else as they are done.
        chunk_size: so many items make one task. Small functions gain by it; the first result waits for a whole chunk.
        on_error: Raise(), Skip(), Retry() or a policy of one's own; it works where the function runs.
        """
        if isinstance(executor, str) and executor == "numba":
            return self.numba_map(partial(callback, **kw) if kw else callback)
        work = parallel.Work(callback, kw, buffer, max_workers, executor, ordered, chunk_size, on_error or Raise())
        return Step(self, "async_map", parallel.AsyncMapped, work)

    def prefetch(
        self,
        store: Store,
        buffer: int = 100,
        max_workers: int | None = None,
        executor: Any = None,
        *,
        ordered: bool = True,
        on_error: ErrorPolicy | None = None,
    ) -> Composable:
        """Read keys from a store, several at once, in their order; arguments as for `async_map`.

        Where the store gives an iterator, as for a shard, that is read in the pool, too, and its items come one by one.
        """
        read = parallel.Read(store)
        work = parallel.Work(read, {}, buffer, max_workers, executor, ordered, 1, on_error or Raise())
        return Step(self, "prefetch", parallel.AsyncMapped, work).flatten()

    def sink(
        self,
        store: Store,
        buffer: int = 100,
        max_workers: int | None = 1,
        executor: Any = None,
        *,
        on_error: ErrorPolicy | None = None,
    ) -> None:
        """Put all items into a store, and return when they are there.

        One thread writes while another reads upstream, so that keys are made in the order of the items. More workers,
        or an executor, write several at once, in any order. Raises the first error.
        """
        self.async_map(store.set, buffer, max_workers, executor, on_error=on_error).join()

    def dask_map(self, callback: Callable[..., Any], **kw: Any) -> Composable:
        """Describe a call for each item as a `dask.delayed`, which `materialize_dask` runs; nothing runs here."""
        steps.check_callable("dask_map", callback)
        return Step(self, "dask_map", Plain, dask.delayed, callback, kw)

    def materialize_dask(self, buffer: int = 10, max_workers: int | None = None) -> Composable:
        """Compute what is a `dask.delayed`, several at once, in order; other items pass."""
        work = parallel.Work(dask.compute, {}, buffer, max_workers, None, True, 1, Raise())
        return Step(self, "materialize_dask", parallel.AsyncMapped, work)

    def numba_map(self, callback: Callable[[Any], Any]) -> Composable:
        """Call a function of each item from code that numba compiled, in its object mode.

        That mode knows any Python object, and seldom pays: measure it beside `map`. It is compiled at the first item,
        once per process.
        """
        steps.check_callable("numba_map", callback)
        return Step(self, "numba_map", Plain, numba.mapped, callback)

    # Steps of one's own

    def to(self, f: Callable[..., Iterable[Any]], *args: Any, **kw: Any) -> Composable:
        """Give what a function makes of the iterator: usually a generator function."""
        if "source" in kw:
            raise ArgumentValueError("`to` hands the iterator to the function first; it takes no keyword `source`")
        return Step(self, "to", steps.Applied, f, args, kw)

    def compose(self, constructor: Callable[..., StepType], *args: Any, **kw: Any) -> StepType:
        """Add a step of a class of one's own: build it from `args` and `kw`, then let it read from here."""
        if not callable(constructor):
            raise ArgumentTypeError(f"compose takes a class of steps, not {constructor!r:.80}")
        own = vars(constructor).get("__init__") if inspect.isclass(constructor) else None
        if "source" in kw or (own is not None and "source" in inspect.signature(own).parameters):
            raise ArgumentValueError("compose sets `source` itself: the constructor must not take it")
        step = constructor(*args, **kw)
        if not isinstance(step, Composable):
            raise ArgumentTypeError(f"compose needs what builds a Composable, not a {type(step).__name__}")
        # An object that is handed out twice belongs to two chains.
        return copy.copy(step).source_(self)

    # PyTorch: its module is imported when one of these is called, and imports this one.

    def split_by_rank_pytorch(
        self, torch_dist_group: Any = None, remainder: Literal["keep", "drop", "repeat"] = "keep"
    ) -> Composable:
        """Keep what belongs to this rank: `compose(SplitByRank, torch_dist_group, remainder)`."""
        from smartml.pipeline.torch import SplitByRank

        return self.compose(SplitByRank, torch_dist_group, remainder)

    def split_by_worker_pytorch(self) -> Composable:
        """Keep what belongs to this worker of a DataLoader: `compose(SplitByWorker)`."""
        from smartml.pipeline.torch import SplitByWorker

        return self.compose(SplitByWorker)

    def to_torch_iterable(self, enforce_rank_check: bool = True, enforce_worker_check: bool = True) -> TorchIterable:
        """Make it a dataset for a DataLoader: `compose(TorchIterable, enforce_rank_check, enforce_worker_check)`."""
        from smartml.pipeline.torch import TorchIterable

        return self.compose(TorchIterable, enforce_rank_check, enforce_worker_check)

    # Running

    def join(self) -> None:
        """Run to the end, and keep nothing."""
        deque(self, maxlen=0)

    def collect(self) -> list[Any]:
        """Run to the end; return the items."""
        return list(self)

    def explain(self, n: int | None = None) -> str:
        """Describe the chain; if n is told, run a pass over n items, and tell what each step took.

        Per step: the items it gave, the seconds it had on its own in the thread that read it, and of steps that work
        ahead how many items were ready or at work, on average, when one was asked for. Other passes are not measured.
        """
        return explain.explained(self, n)


class Step(Composable):
    """A step of smartml's own: what stage it begins, with what arguments."""

    def __init__(self, source: Any, name: str, kind: Callable[..., Stage], *args: Any) -> None:
        super().__init__(source)
        self.name, self._kind, self._args = name, kind, args
        check = getattr(kind, "check", None)
        if check is not None:
            check(*args)

    def begin(self, state: State = None, meters: explain.Meters | None = None) -> Stage:
        """Begin the stage."""
        upstream = partial(begin, self.source, meters=meters)
        self._last = explain.met(self._kind(upstream, state, *self._args), self, meters)
        return self._last

    @property
    def has_own_order(self) -> bool:
        """Whether another process may see another order: what the kind of stage says of its arguments."""
        tell = getattr(self._kind, "has_own_order", None)
        return tell is not None and bool(tell(*self._args))

    @property
    def arguments(self) -> tuple[Any, ...]:
        """What the step was built with."""
        # A plain step's first one is the generator function that it is named for.
        return self._args[1:] if self._kind is Plain else self._args


class Loop(Step):
    """The step that `loop` makes."""

    @property
    def counter(self) -> int:
        """How many rounds the pass begun last has done."""
        return self._last.counter if isinstance(self._last, steps.Looped) else 0


def begin(source: Any, state: State = None, meters: explain.Meters | None = None) -> Stage:
    """Begin the part of a chain, or of a plain iterable, in a pass."""
    return source.begin(state, meters) if isinstance(source, Composable) else Sourced(source, state)


class _Own(Replayed):
    """A step whose class is the user's, with an `__iter__` of its own."""

    def __init__(self, step: Composable, state: State, meters: explain.Meters | None) -> None:
        super().__init__(partial(begin, step.source, meters=meters), state, _read_by, step)


def _read_by(items: Iterator[Any], step: Composable) -> Iterable[Any]:
    # The step stays as the user built it: its copy reads the pass that it has part in.
    twin = copy.copy(step)
    twin.source = _Once(step.source, items) if isinstance(step.source, Composable) else items
    return twin


class _Once(Composable):
    """A chain of which a pass has begun: that one is read first."""

    def __init__(self, source: Composable, items: Iterator[Any]) -> None:
        super().__init__(source)
        self._items: list[Iterator[Any]] = [items]

    def __iter__(self) -> Iterator[Any]:
        return self._items.pop() if self._items else iter(self.source)


def _names(stream: Any) -> str:
    """Name the steps of a chain, source first."""
    names: list[str] = []
    while isinstance(stream, Composable):
        names.append(getattr(stream, "name", type(stream).__name__))
        stream = stream.source
    return " > ".join(reversed(names))


def _packed(stream: Composable, state: State) -> dict[str, Any]:
    return {"version": _VERSION, "steps": _names(stream), "at": state}


def _state_of(stream: Composable, stage: Stage) -> dict[str, Any]:
    return _packed(stream, stage.state())


def _place_in(stream: Composable, state_dict: dict[str, Any]) -> State:
    """Return where a saved state points to; raise StateError where it cannot be this chain's."""
    if not isinstance(state_dict, dict) or state_dict.keys() != {"version", "steps", "at"}:
        raise StateError(f"this is no state of a chain: {state_dict!r:.80}")
    if state_dict["version"] != _VERSION:
        raise StateError(f"the state has version {state_dict['version']}, known is {_VERSION}: save it anew")
    saved, own = state_dict["steps"], _names(stream)
    if saved != own:
        raise StateError(f"the state is one of '{saved}', not of '{own}': build the same chain")
    return state_dict["at"]
