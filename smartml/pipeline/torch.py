"""Streams in PyTorch: split between ranks and loading workers, and read by a DataLoader."""

from __future__ import annotations

from functools import partial
from typing import Any

from smartml.errors import MissingDependencyError, PyTorchSplittingException
from smartml.extras import missing
from smartml.pipeline import explain
from smartml.pipeline.splits import Checked, Remainder, Split, check_order, check_remainder, is_split, skip_k
from smartml.pipeline.stage import Stage, State
from smartml.pipeline.stream import Composable, begin

try:
    from torch import distributed
    from torch.utils import data
except ImportError as error:
    raise MissingDependencyError(missing("torch", "reading streams in PyTorch", "torch")) from error

__all__ = ["SplitByRank", "SplitByWorker", "TorchIterable", "skip_k"]


class _Rank:
    """Which rank this process has, of how many: asked for when a pass begins, and fixed by pickling.

    A worker of a DataLoader that was not forked has no process group to ask.
    """

    def __init__(self, group: Any = None) -> None:
        self._group = group
        self._fixed: tuple[int, int] | None = None

    def __call__(self) -> tuple[int, int]:
        if self._fixed is not None:
            return self._fixed
        if not _has_group():
            return 0, 1
        rank, ranks = distributed.get_rank(self._group), distributed.get_world_size(self._group)
        if rank < 0:
            raise PyTorchSplittingException("this process is not in the group that the stream is split between")
        return rank, ranks

    def __getstate__(self) -> dict[str, Any]:
        return {"_group": None, "_fixed": self() if self._fixed is not None or _has_group() else None}


def _has_group() -> bool:
    return distributed.is_available() and distributed.is_initialized()


class SplitByRank(Composable):
    """Keep what belongs to this rank: of as many items as there are ranks, the one with its number.

    The rank is that in the group (None: of all processes) when a pass begins; a chain that is pickled, as for workers
    that are not forked, keeps the one that it was pickled with. Without a process group everything is kept.

    remainder: what becomes of items at the end that are fewer than the ranks. "keep": some ranks have an item more than
    others; "drop": none has it; "repeat": those without one get one of the others'. With the last two all ranks have
    the same number of items, without which training together waits for ever for the rank that has less.

    Upstream of it everything runs in every rank. Raises PyTorchSplittingException where ranks would not see the same
    order: a shuffle or a mixture without a seed, an `async_map` that is not ordered. A `random.Random` that is handed
    in must begin alike in all of them.
    """

    splits = frozenset({"rank"})

    def __init__(self, torch_dist_group: Any = None, remainder: Remainder = "keep") -> None:
        super().__init__()
        check_remainder(remainder)
        self._rank, self._remainder = _Rank(torch_dist_group), remainder

    def begin(self, state: State = None, meters: explain.Meters | None = None) -> Stage:
        """Begin to keep every so many-th item."""
        return _begin_split(self, state, meters, "rank", *self._rank(), self._remainder)


class SplitByWorker(Composable):
    """Keep what belongs to this worker of a DataLoader: every `num_workers`-th item; outside of one, everything.

    Upstream of it everything runs in every worker: split before the steps that take time. Where `batched` follows, each
    worker drops a last batch of its own. Refuses what `SplitByRank` refuses upstream.
    """

    splits = frozenset({"worker"})

    def begin(self, state: State = None, meters: explain.Meters | None = None) -> Stage:
        """Begin to keep every so many-th item."""
        worker = data.get_worker_info()
        part, parts = (0, 1) if worker is None else (worker.id, worker.num_workers)
        return _begin_split(self, state, meters, "worker", part, parts, "keep")


def _begin_split(
    step: Composable,
    state: State,
    meters: explain.Meters | None,
    by: str,
    part: int,
    parts: int,
    remainder: Remainder,
) -> Stage:
    def begin_checked(at: State) -> Stage:
        upstream = partial(begin, step.source, meters=meters)
        return upstream(at) if parts == 1 else Checked(upstream, at, partial(check_order, step, by, parts))

    step._last = explain.met(Split(begin_checked, state, part, parts, remainder), step, meters)
    return step._last


class TorchIterable(Composable, data.IterableDataset):  # type: ignore[type-arg]
    """A chain that torch's DataLoader, or torchdata's StatefulDataLoader, reads: `DataLoader(chain, batch_size=None)`.

    Raises PyTorchSplittingException at the first item where every rank, or every worker, would read everything: no
    `SplitByRank`, or `SplitByWorker`, stands upstream, in each member of a mixture. The checks can be switched off.
    """

    def __init__(self, enforce_rank_check: bool = True, enforce_worker_check: bool = True) -> None:
        super().__init__()
        self._rank = _Rank()
        self._enforce_rank_check, self._enforce_worker_check = enforce_rank_check, enforce_worker_check

    def begin(self, state: State = None, meters: explain.Meters | None = None) -> Stage:
        """Begin to read, and to check at the first item."""
        self._last = explain.met(Checked(partial(begin, self.source, meters=meters), state, self._check), self, meters)
        return self._last

    def _check(self) -> None:
        _, ranks = self._rank()
        worker = data.get_worker_info()
        if self._enforce_rank_check and ranks > 1 and not is_split(self.source, "rank"):
            raise _unsplit(f"{ranks} ranks", "split_by_rank_pytorch", "SplitByRank", "enforce_rank_check")
        if self._enforce_worker_check and worker is not None and not is_split(self.source, "worker"):
            raise _unsplit(
                f"{worker.num_workers} workers", "split_by_worker_pytorch", "SplitByWorker", "enforce_worker_check"
            )


def _unsplit(readers: str, method: str, name: str, switch: str) -> PyTorchSplittingException:
    return PyTorchSplittingException(
        f"{readers} read this chain, and each would give all items: add .{method}(), which is .compose({name}), before "
        f"the steps that take time, and to every member of a mixture; or set {switch}=False if all are wanted"
    )
