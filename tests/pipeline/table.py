"""Every step once, for the laws that hold for all of them."""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from smartml.pipeline import Composable, IterableSamplerSource, Multiplexer, Schedule, Skip
from smartml.pipeline.splits import Split
from smartml.pipeline.stream import Step


def double(x):
    return 2 * x


def is_no_third(x):
    return x % 3 != 0


def repeat(x):
    return [x] * (x % 4)


def fail_for_fives(x):
    if x % 5 == 0:
        raise ValueError(x)
    return x


def every_other(items):
    for number, item in enumerate(items):
        if number % 2 == 0:
            yield item


def ignore(metrics):
    pass


class Squares:
    """A store in which every number leads to its square."""

    def get(self, key):
        return key * key

    def set(self, value):
        raise NotImplementedError

    def keys(self):
        return []


class Labelled(Composable):
    """A step of a user's own."""

    def __iter__(self):
        for item in iter(self.source):
            yield f"_{item}", item


@dataclass(frozen=True)
class Case:
    """A step, and the most it may pull from its source for so many items given."""

    add: Callable[[Composable], Composable]
    most: Callable[[int], float]


def ahead(number: int) -> Callable[[int], float]:
    return lambda given: given + number


ANY: Callable[[int], float] = lambda given: 4 * given + 4  # noqa: E731


def sampler(chain: Any, **kw: Any) -> Composable:
    return IterableSamplerSource([chain, range(1000, 1010), chain.map(double)], **kw)


def split(chain: Composable, *arguments: Any) -> Composable:
    """Keep what belongs to one of several readers."""
    return Step(chain, "split", Split, *arguments)


CASES: dict[str, Case] = {
    "source": Case(lambda s: s, ahead(0)),
    "map": Case(lambda s: s.map(double), ahead(0)),
    "five maps": Case(lambda s: s.map(double).map(double).map(str).map(len).map(double), ahead(0)),
    "map that skips": Case(lambda s: s.map(fail_for_fives, on_error=Skip()), ANY),
    "filter": Case(lambda s: s.filter(is_no_third), ANY),
    "flatten": Case(lambda s: s.map(repeat).flatten(), ANY),
    "take": Case(lambda s: s.take(7), ahead(0)),
    "loop": Case(lambda s: s.loop(3), ahead(0)),
    "loop over shuffle": Case(lambda s: s.shuffle(5, initial=2, seed=1).loop(2), lambda given: given + 15),
    "zip_index": Case(lambda s: s.zip_index(2), ahead(0)),
    "batched": Case(lambda s: s.batched(3, drop_last_if_not_full=False), lambda given: 3 * given),
    "batched and dropped": Case(lambda s: s.batched(4, sum), lambda given: 4 * given),
    "sliding": Case(lambda s: s.sliding(4, deepcopy=False), ahead(3)),
    "sliding in part": Case(
        lambda s: s.sliding(5, deepcopy=True, stride=2, drop_last_if_not_full=False, min_window_size=2),
        lambda given: 2 * given + 5,
    ),
    "shuffle": Case(lambda s: s.shuffle(6, initial=3, seed="seed"), lambda given: given + 5),
    "shuffle of few": Case(lambda s: s.shuffle(1000, seed=b"seed"), lambda given: 2 * given + 100),
    "two shuffles": Case(
        lambda s: s.shuffle(6, seed=1).filter(is_no_third).shuffle(4, initial=1, seed=2.5), lambda given: 4 * given + 20
    ),
    "to": Case(lambda s: s.to(every_other), ANY),
    "compose": Case(lambda s: s.shuffle(3, initial=1, seed=1).compose(Labelled).map(str), lambda given: 2 * given + 3),
    "async_map": Case(lambda s: s.async_map(double, buffer=5, max_workers=2), ahead(5)),
    "async_map in chunks": Case(
        lambda s: s.async_map(double, buffer=9, max_workers=2, chunk_size=3), lambda given: given + 9
    ),
    "async_map that skips": Case(
        lambda s: s.async_map(fail_for_fives, buffer=5, max_workers=2, on_error=Skip()), lambda given: 4 * given + 9
    ),
    "two async_maps": Case(
        lambda s: s.async_map(double, buffer=3, max_workers=2).async_map(double, buffer=3, max_workers=1), ahead(7)
    ),
    "async_map of flattened": Case(
        lambda s: s.map(repeat).flatten().async_map(double, buffer=4).shuffle(5, seed=3), lambda given: 4 * given + 40
    ),
    "prefetch": Case(lambda s: s.prefetch(Squares(), buffer=5, max_workers=2), ahead(5)),
    "tqdm": Case(lambda s: s.tqdm(disable=True), ahead(0)),
    "monitor": Case(lambda s: s.monitor(ignore, "before "), ahead(0)),
    "sampler": Case(lambda s: sampler(s, seed=5), ahead(2)),
    "sampler with weights": Case(lambda s: sampler(s, probs=[0.7, 0.2, 0.1], seed=5), ahead(2)),
    "sampler with a schedule": Case(
        lambda s: sampler(s, probs=Schedule({0: [1, 0, 0], 9: [0, 1, 1]}, interpolate=True), seed=5), ahead(2)
    ),
    "round robin": Case(lambda s: Multiplexer([s, range(5)], "RoundRobin"), ahead(2)),
    "uniform": Case(lambda s: Multiplexer([s, range(5)], "uniform_with_replacement", seed=1), lambda given: given + 9),
    "weighted": Case(lambda s: Multiplexer([s, range(5)], "sampling", [3, 1], seed=1), lambda given: given + 9),
    "split": Case(lambda s: split(s, 1, 3), lambda given: 3 * given),
    "split into whole rounds": Case(lambda s: split(s, 1, 3, "drop"), lambda given: 3 * given),
    "split into filled rounds": Case(lambda s: split(s, 2, 4, "repeat"), lambda given: 4 * given),
    "split of shuffled": Case(lambda s: split(s.shuffle(5, initial=2, seed=3), 0, 2).map(double), ANY),
    "split in a loop": Case(lambda s: split(s, 1, 2).loop(2), lambda given: 4 * given),
}
if importlib.util.find_spec("numba"):
    CASES["numba_map"] = Case(lambda s: s.numba_map(double), ahead(0))
if importlib.util.find_spec("dask"):
    CASES["dask_map"] = Case(lambda s: s.dask_map(double).materialize_dask(buffer=4, max_workers=2), ahead(4))
if importlib.util.find_spec("torch"):
    CASES |= {
        "split by rank": Case(lambda s: s.split_by_rank_pytorch(remainder="drop"), ahead(0)),
        "split by worker": Case(lambda s: s.split_by_worker_pytorch(), ahead(0)),
        "torch iterable": Case(lambda s: s.shuffle(4, initial=1, seed=1).to_torch_iterable(), lambda given: given + 4),
    }
