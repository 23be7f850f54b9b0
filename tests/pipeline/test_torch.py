"""Streams in PyTorch: real loaders with worker processes, and ranks that torchrun starts."""

import importlib.util
import itertools
import json
import os
import pickle
import subprocess
import sys

import pytest

from smartml.errors import ArgumentValueError, PyTorchSplittingException, StateError
from smartml.pipeline import IterableSamplerSource, IterableSource, Multiplexer, skip_k
from smartml.pipeline.splits import Split
from smartml.pipeline.stream import Step

from .table import double

if importlib.util.find_spec("torch") is None:
    pytest.skip("the package 'torch' is not installed", allow_module_level=True)

from smartml.pipeline import SplitByRank, SplitByWorker, TorchIterable

pytestmark = [
    pytest.mark.filterwarnings("ignore:This DataLoader will create 4 worker processes:UserWarning"),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated:UserWarning"),
]


def loaded(chain, workers, **options):
    """What a DataLoader gives, batches of the chain as they are."""
    from torch.utils.data import DataLoader

    items = iter(DataLoader(chain, batch_size=None, num_workers=workers, **options))
    try:
        return list(items)
    finally:
        # A loader that failed lives on in its error, and workers that are forked meanwhile wait for its queues.
        if workers:
            items._shutdown_workers()


def flat(lists):
    """The items of lists in lists."""
    return [item for part in lists for item in part]


# One part of several


@pytest.mark.parametrize("length", [0, 1, 5, 6, 7])
@pytest.mark.parametrize("parts", [1, 2, 3])
def test_parts_are_every_item_once(parts, length):
    own = [Step(IterableSource(range(length)), "split", Split, part, parts).collect() for part in range(parts)]

    assert own == [list(range(length))[part::parts] for part in range(parts)]
    assert own == [IterableSource(range(length)).to(skip_k(part, parts)).collect() for part in range(parts)]


@pytest.mark.parametrize("length", range(9))
def test_with_the_remainder_dropped_or_repeated_all_parts_are_as_long(length):
    def parts(remainder):
        source = IterableSource(range(length))
        return [Step(source, "split", Split, part, 3, remainder).collect() for part in range(3)]

    assert [len(own) for own in parts("drop")] == [length // 3] * 3
    assert [len(own) for own in parts("repeat")] == [-(-length // 3)] * 3
    assert sorted(flat(parts("drop"))) == list(range(length - length % 3))
    assert set(flat(parts("repeat"))) == set(range(length))


def test_an_unknown_way_to_treat_the_remainder_is_refused():
    with pytest.raises(ArgumentValueError, match='"keep", "drop" or "repeat", not \'pad\''):
        IterableSource([]).split_by_rank_pytorch(remainder="pad")


def test_the_state_of_another_part_is_refused():
    one, other = (Step(IterableSource(range(9)), "split", Split, part, 2) for part in (0, 1))
    next(iter(one))

    other.load_state_dict(one.state_dict())
    with pytest.raises(StateError, match="the state is that of part 0 of 2, this is part 1 of 2"):
        other.collect()


# In one process


def test_alone_a_process_keeps_everything():
    chain = IterableSource(range(10)).compose(SplitByRank).compose(SplitByWorker).compose(TorchIterable)

    assert chain.collect() == list(range(10))
    assert loaded(chain, 0) == list(range(10))


def test_short_forms_compose_the_same_steps():
    chain = IterableSource(range(4)).split_by_rank_pytorch().split_by_worker_pytorch().to_torch_iterable()

    assert [type(step) for step in (chain.source.source, chain.source, chain)] == [
        SplitByRank,
        SplitByWorker,
        TorchIterable,
    ]


# With workers


def test_batches_of_four_workers_hold_every_item_once():
    from torch.utils.data import DataLoader

    samples = list(range(100))
    it = (
        IterableSource(samples)
        .compose(SplitByRank)
        .async_map(double)
        .compose(SplitByWorker)
        .batched(5)
        .compose(TorchIterable)
    )
    # The loader's own batches: one list of the chain, each of its items a tensor.
    batches = list(DataLoader(it, num_workers=4))

    assert len(batches) == 20
    assert {(len(batch), batch[0].shape) for batch in batches} == {(5, (1,))}
    assert sorted(int(value) for batch in batches for value in batch) == [2 * value for value in samples]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_share_the_items_however_they_are_started(method):
    chain = IterableSource(range(11)).split_by_worker_pytorch().map(double).to_torch_iterable()

    assert sorted(loaded(chain, 2, multiprocessing_context=method)) == list(range(0, 22, 2))


def test_a_forgotten_split_between_workers_is_an_error_that_says_what_to_add():
    chain = IterableSource(range(4)).to_torch_iterable()

    with pytest.raises(PyTorchSplittingException, match=r"2 workers read .* add \.split_by_worker_pytorch\(\)"):
        loaded(chain, 2)
    assert sorted(loaded(IterableSource(range(2)).to_torch_iterable(enforce_worker_check=False), 2)) == [0, 0, 1, 1]


MIXTURES = {
    "sampler": lambda members: IterableSamplerSource(members, seed=1),
    "sampler without a seed": IterableSamplerSource,
    "in turn": lambda members: Multiplexer(members, "RoundRobin"),
}


@pytest.mark.parametrize("mixture", MIXTURES.values(), ids=MIXTURES.keys())
def test_every_member_of_a_mixture_must_be_split(mixture):
    def member(start):
        return IterableSource(range(start, start + 5))

    whole = mixture([member(0).split_by_worker_pytorch(), member(5)]).to_torch_iterable()
    with pytest.raises(PyTorchSplittingException, match="every member of a mixture"):
        loaded(whole, 2)

    split = mixture([member(0).split_by_worker_pytorch(), member(5).map(int).split_by_worker_pytorch()])
    assert sorted(loaded(split.to_torch_iterable(), 2)) == list(range(10))


def test_a_split_is_found_behind_other_steps_and_sources_of_sources():
    inner = IterableSource(range(9)).split_by_worker_pytorch().map(double)

    chain = IterableSource(IterableSource(inner)).shuffle(5).batched(1).to_torch_iterable()

    assert sorted(flat(loaded(chain, 2))) == list(range(0, 18, 2))


DISORDER = {
    "shuffle": lambda chain: chain.shuffle(5),
    "async_map": lambda chain: chain.async_map(double, ordered=False),
    "IterableSamplerSource": lambda chain: IterableSamplerSource([chain, range(3)]),
    "Multiplexer": lambda chain: Multiplexer([chain, range(3)], "uniform_with_replacement"),
}


@pytest.mark.parametrize("name", DISORDER)
def test_what_each_worker_would_order_anew_is_refused_upstream_of_a_split(name):
    chain = DISORDER[name](IterableSource(range(20))).map(double).split_by_worker_pytorch().to_torch_iterable()

    with pytest.raises(PyTorchSplittingException, match=f"'{name}' gives another order in each of the 2 processes"):
        loaded(chain, 2)
    # Alone nobody else sees another order.
    assert chain.collect()


def test_with_a_seed_or_behind_the_split_a_shuffle_loses_nothing():
    seeded = IterableSource(range(20)).shuffle(8, seed=1).split_by_worker_pytorch().to_torch_iterable()
    behind = IterableSource(range(20)).split_by_worker_pytorch().shuffle(8).to_torch_iterable()

    assert sorted(loaded(seeded, 2)) == sorted(loaded(behind, 2)) == list(range(20))


def fail_at_seven(item):
    if item == 7:
        raise KeyError("seven")
    return item


def test_errors_of_workers_keep_their_type():
    chain = IterableSource(range(9)).split_by_worker_pytorch().map(fail_at_seven).to_torch_iterable()

    with pytest.raises(KeyError, match="seven"):
        loaded(chain, 2)


# Resuming


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("taken", [0, 1, 6, 13])
def test_a_stateful_loader_of_torchdata_goes_on_anywhere(workers, taken):
    pytest.importorskip("torchdata")
    from torchdata.stateful_dataloader import StatefulDataLoader

    def loader():
        chain = (
            IterableSource(range(40))
            .split_by_rank_pytorch()
            .split_by_worker_pytorch()
            .shuffle(6, seed=2)
            .async_map(double, max_workers=2)
            .batched(3, drop_last_if_not_full=False)
            .to_torch_iterable()
        )
        return StatefulDataLoader(chain, batch_size=None, num_workers=workers)

    undisturbed = list(loader())
    first = iter(training := loader())
    head = list(itertools.islice(first, taken))
    state = pickle.loads(pickle.dumps(training.state_dict()))

    second = loader()
    second.load_state_dict(state)

    assert head + list(second) == undisturbed
    assert sorted(flat(undisturbed)) == list(range(0, 80, 2))


# Ranks

TRAINER = """
import json, os, sys
from torch import distributed
from torch.utils.data import DataLoader
from smartml.errors import PyTorchSplittingException, StateError
from smartml.pipeline import IterableSource, Multiplexer

def source(length=24):
    return IterableSource(range(length))

def loaded(chain, **options):
    return list(DataLoader(chain, batch_size=None, **options))

def refused(chain, **options):
    try:
        return loaded(chain.to_torch_iterable(), **options)
    except PyTorchSplittingException as error:
        return str(error)

def resumed(chain, state):
    chain.load_state_dict(state)
    try:
        return chain.collect()
    except StateError as error:
        return str(error)

if __name__ == "__main__":
    early = source().split_by_rank_pytorch().to_torch_iterable()
    # Through a file: see tests/feeds/test_torchrun.py.
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    where = f"file://{sys.argv[1]}/group"
    distributed.init_process_group("gloo", init_method=where, rank=rank, world_size=world)
    alone = [distributed.new_group([number]) for number in range(world)]
    split = source().split_by_rank_pytorch().split_by_worker_pytorch().to_torch_iterable()
    begun = iter(split)
    head = [next(begun) for _ in range(5)]
    states = [None] * world
    distributed.all_gather_object(states, begun.state_dict())
    seen = {
        "built early": early.collect(),
        "head": head,
        "rest": resumed(split, states[rank]),
        "state of another": resumed(split, states[1 - rank]),
        "keep": source(7).split_by_rank_pytorch().collect(),
        "drop": source(7).split_by_rank_pytorch(remainder="drop").collect(),
        "repeat": source(7).split_by_rank_pytorch(remainder="repeat").collect(),
        "workers": loaded(split, num_workers=2),
        "spawned": loaded(split, num_workers=1, multiprocessing_context="spawn"),
        "own group": source().split_by_rank_pytorch(alone[rank]).collect(),
        "no split": refused(source()),
        "no split, spawned": refused(source(), num_workers=1, multiprocessing_context="spawn"),
        "one member": refused(Multiplexer([source().split_by_rank_pytorch(), source()], "RoundRobin")),
        "not in the group": refused(source().split_by_rank_pytorch(alone[1 - rank])),
        "shuffled first": refused(source().shuffle(5).split_by_rank_pytorch()),
        "seeded": refused(source().shuffle(5, seed=1).split_by_rank_pytorch()),
        "unchecked": loaded(source().to_torch_iterable(enforce_rank_check=False)),
    }
    with open(f"{sys.argv[1]}/{rank}", "w") as out:
        json.dump(seen, out)
    distributed.barrier()
    distributed.destroy_process_group()
"""


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What two ranks, started by torchrun, have seen."""
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "train.py").write_text(TRAINER)
    options = ["--standalone", "--nproc-per-node=2", "--monitor-interval=0.1"]
    command = [sys.executable, "-m", "torch.distributed.run", *options, folder / "train.py", folder]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return [json.loads((folder / str(rank)).read_text()) for rank in range(2)]


@pytest.mark.parametrize("how", ["built early", "workers", "spawned", "seeded"])
def test_ranks_share_the_items(how, ranks):
    one, other = (rank[how] for rank in ranks)

    assert len(one) == len(other) == 12
    assert sorted(one + other) == list(range(24))


def test_ranks_have_as_many_items_where_that_is_wanted(ranks):
    assert [[rank[how] for rank in ranks] for how in ("keep", "drop", "repeat")] == [
        [[0, 2, 4, 6], [1, 3, 5]],
        [[0, 2, 4], [1, 3, 5]],
        [[0, 2, 4, 6], [1, 3, 5, 6]],
    ]


def test_each_rank_goes_on_from_its_own_state_and_from_no_other(ranks):
    assert [rank["head"] + rank["rest"] for rank in ranks] == [list(range(0, 24, 2)), list(range(1, 24, 2))]
    assert "the state is that of part 1 of 2, this is part 0 of 2" in ranks[0]["state of another"]


def test_a_group_of_one_has_everything(ranks):
    assert ranks[0]["own group"] == ranks[1]["own group"] == list(range(24))


@pytest.mark.parametrize("how", ["no split", "no split, spawned", "one member"])
def test_a_forgotten_split_between_ranks_is_an_error_that_says_what_to_add(how, ranks):
    for rank in ranks:
        assert "2 ranks read this chain" in rank[how]
        assert "add .split_by_rank_pytorch(), which is .compose(SplitByRank)" in rank[how]


def test_what_ranks_would_order_anew_is_refused_upstream_of_a_split(ranks):
    assert "upstream of a split by rank, 'shuffle' gives another order" in ranks[0]["shuffled first"]


def test_a_process_outside_the_group_is_told_so(ranks):
    assert ranks[0]["not in the group"] == "this process is not in the group that the stream is split between"


def test_checks_can_be_switched_off(ranks):
    assert ranks[0]["unchecked"] == list(range(24))
