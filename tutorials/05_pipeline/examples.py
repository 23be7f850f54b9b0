"""The chains of squirrel's page on its IterStream, as they stand there, with other imports and in smaller sizes.

usage: python examples.py
"""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec

import numpy as np

from smartml.pipeline import Composable, IterableSamplerSource, IterableSource, MemoryStore


def chains() -> list[list[int]]:
    """Iterate, map and filter."""
    it_loader = IterableSource([1, 2, 3, 4])
    first = list(it_loader)
    it_loader = IterableSource([1, 2, 3, 4]).map(lambda x: x + 1).async_map(lambda x: x**2).filter(lambda x: x % 2 == 0)
    return [first, list(it_loader), IterableSource([1, 2, 3, 4]).map(lambda x: x + 1).collect()]


def get_sample() -> dict:
    """Make up a sample."""
    return {
        "id": f"id_{np.random.randint(1, 10000)}",
        "image": np.random.random(size=(1, 1, 1)),
        "label": np.random.choice([0, 1]),
        "meta": {"key": "value", "split": np.random.choice(["train", "test", "validation"])},
    }


def stores() -> tuple[int, list[int]]:
    """Write samples into a store with several threads, and read them shuffled, in batches."""
    st = MemoryStore()
    samples = [get_sample() for _ in range(10)]
    IterableSource(samples).async_map(lambda x: st.set(x)).join()
    it_loader = IterableSource(st.keys()).async_map(lambda key: st.get(key))
    read = len(list(it_loader))
    it_loader = (
        IterableSource(st.keys())
        .shuffle(size=5)
        .async_map(lambda key: st.get(key))
        .batched(batchsize=3, drop_last_if_not_full=True)
    )
    return read, [len(batch) for batch in it_loader]


def sink_and_prefetch() -> list[int]:
    """Do the same with the short forms."""
    st = MemoryStore()
    samples = [get_sample() for _ in range(10)]
    IterableSource(samples).sink(st)
    it_loader = IterableSource(st.keys()).shuffle(size=5).prefetch(st).batched(batchsize=2)
    return [len(batch) for batch in it_loader]


class MyIter(Composable):
    """A step of one's own."""

    def __init__(self):
        super().__init__()

    def __iter__(self):
        for i in iter(self.source):
            yield f"_{i}", i


def composed() -> list[tuple[str, int]]:
    """Use a step of one's own."""
    return list(IterableSource([1, 2, 3]).compose(MyIter))


def sampled() -> int:
    """Draw from two streams."""
    it1 = IterableSource([1, 2, 3]).map(lambda x: x + 1)
    it2 = [1, 2, 3]
    res = IterableSamplerSource(iterables=[it1, it2], probs=[0.7, 0.3]).collect()
    return sum(res)


def runtime_transformation(item: int) -> int:
    """Stand for something that takes long."""
    return item + 1


def in_processes() -> list[int]:
    """Transform in a pool of processes."""
    with ProcessPoolExecutor(1) as pool:
        return list(IterableSource([1, 2, 3]).async_map(runtime_transformation, executor=pool))


def on_a_cluster() -> list[int]:
    """Transform on a cluster of Dask, here a local one of threads; needs dask and distributed."""
    import dask.distributed

    with dask.distributed.Client(processes=False, dashboard_address=None) as client:
        return list(IterableSource([1, 2, 3]).async_map(runtime_transformation, executor=client))


def with_numba() -> list[int]:
    """Let numba call the function, which seldom pays for one that numba does not know better; needs numba."""
    return IterableSource([1, 2, 3]).async_map(runtime_transformation, executor="numba").collect()


def times_two(x):
    """Double."""
    return x * 2


def monitored() -> list[str]:
    """Measure at two places; `wandb.log` or `mlflow.log_metrics` would stand where `log` does."""
    metrics: dict[str, float] = {}
    log = metrics.update
    samples = [np.random.rand(100, 100) for _ in range(100)]
    it = (
        IterableSource(samples)
        .monitor(log, prefix="(before async_map) ")
        .async_map(times_two)
        .monitor(log, prefix="(after async_map) ")
        .batched(5)
    )
    it.collect()
    return sorted(metrics)


def loaded(num_workers: int = 4) -> list[int]:
    """Read in the workers of a DataLoader; needs torch."""
    import torch.utils.data as tud

    from smartml.pipeline import SplitByRank, SplitByWorker, TorchIterable

    samples = list(range(100))
    batch_size = 5
    it = (
        IterableSource(samples)
        .compose(SplitByRank)
        .async_map(times_two)
        .compose(SplitByWorker)
        .batched(batch_size)
        .compose(TorchIterable)
    )
    dl = tud.DataLoader(it, num_workers=num_workers)
    return sorted(int(value) for batch in dl for value in batch)


def main() -> None:
    examples = [chains, stores, sink_and_prefetch, composed, sampled, in_processes, monitored]
    examples += [
        example
        for package, example in (("distributed", on_a_cluster), ("numba", with_numba), ("torch", loaded))
        if find_spec(package)
    ]
    for example in examples:
        print(f"{example.__name__}: {example()!r:.100}")


if __name__ == "__main__":
    main()
