"""Steps that work on several items at once: order, what is under way, errors, and who is closed when."""

import copy
import math
import operator
import os
import threading
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from uuid import uuid4

import pytest

from smartml.pipeline import IterableSource

from .test_laws import ends

DEADLINE_S = 30


@pytest.fixture
def pool():
    with ThreadPoolExecutor(2) as executor:
        yield executor


@pytest.fixture(scope="module")
def processes():
    # Not forked: the tests have threads.
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        yield executor


class Gate:
    """Lets one side wait for the other, for so long at most."""

    def __init__(self):
        self._event = threading.Event()

    def open(self):
        self._event.set()

    def wait(self):
        assert self._event.wait(DEADLINE_S), "nobody opened the gate"


class Pool:
    """What a MemoryStore is, in short."""

    def __init__(self):
        self.values = {}

    def set(self, value):
        self.values[len(self.values)] = value

    def get(self, key):
        return self.values[key]

    def keys(self):
        return list(self.values)


def plain(x):
    return x


def double(x, plus=0):
    return 2 * x + plus


# Order and results


@pytest.mark.parametrize(
    "kw", [{}, {"chunk_size": 3}, {"max_workers": 1}, {"buffer": 1}, {"buffer": 2, "chunk_size": 9}]
)
def test_results_come_in_the_order_of_the_items(kw):
    chain = IterableSource(range(50)).async_map(double, plus=1, **kw)

    assert chain.collect() == [2 * x + 1 for x in range(50)]


def test_the_order_is_kept_where_a_later_item_is_done_first():
    gate = Gate()
    chain = IterableSource([0, 1]).async_map(lambda x: gate.wait() if x == 0 else gate.open(), max_workers=2)

    assert chain.zip_index().map(lambda it: it[0]).collect() == [0, 1]


@pytest.mark.parametrize("chunk_size", [1, 2])
def test_unordered_gives_what_is_done_first(chunk_size):
    gate = Gate()

    def wait_for_others(x):
        if x == 0:
            gate.wait()
        return x

    chain = IterableSource(range(6)).async_map(wait_for_others, max_workers=2, ordered=False, chunk_size=chunk_size)
    begun = iter(chain)
    first = next(begun)
    gate.open()

    assert first >= chunk_size
    assert sorted([first, *begun]) == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("taken", range(12))
@pytest.mark.parametrize("chunk_size", [1, 2])
def test_an_unordered_pass_resumes_with_what_was_not_given(taken, chunk_size):
    chain = IterableSource(range(11)).async_map(double, ordered=False, buffer=4, chunk_size=chunk_size)
    begun = iter(chain)
    head = [next(begun) for _ in range(min(taken, 11))]

    chain.load_state_dict(begun.state_dict())
    middle = iter(chain)
    some = [item for _, item in zip(range(2), middle, strict=False)]
    chain.load_state_dict(middle.state_dict())

    assert sorted(head + some + chain.collect()) == [2 * x for x in range(11)]


# What is under way


def test_the_first_result_does_not_wait_for_a_second_item():
    gate = Gate()

    def live():
        yield 1
        gate.wait()
        yield 2

    begun = iter(IterableSource(live).async_map(double))
    assert next(begun) == 2
    gate.open()
    assert list(begun) == [4]


def test_the_source_is_read_while_the_reader_is_busy():
    gate = Gate()

    def live():
        yield 1
        yield 2
        gate.open()
        yield 3

    begun = iter(IterableSource(live).async_map(double))
    next(begun)

    # The reader asks for nothing more, and the source goes on nevertheless.
    gate.wait()
    begun.close()


def test_items_are_worked_on_at_once():
    meeting = threading.Barrier(3)

    assert sorted(IterableSource(range(3)).async_map(lambda x: meeting.wait(DEADLINE_S), max_workers=3)) == [0, 1, 2]


@pytest.mark.parametrize("kw", [{}, {"ordered": False}, {"chunk_size": 2}])
def test_no_more_than_the_buffer_is_under_way(kw):
    pulled, given_out, most = [], [], []

    def numbers():
        for number in range(100):
            # What is under way was pulled, and not given.
            most.append(len(pulled) - len(given_out) + 1)
            pulled.append(number)
            yield number

    begun = iter(IterableSource(numbers).async_map(double, buffer=6, max_workers=2, **kw))
    while True:
        # An item counts as given from when the reader asks for it.
        given_out.append(None)
        if next(begun, None) is None:
            break

    assert len(pulled) == 100
    assert max(most) <= 6


# Errors


@pytest.mark.parametrize("kw", [{}, {"chunk_size": 4}, {"ordered": True, "buffer": 1}])
def test_an_error_comes_at_its_item_behind_the_results_before_it(kw, new_threads):
    begun = iter(IterableSource(range(10)).async_map(lambda x: 1 // (x - 5), **kw))

    assert [next(begun) for _ in range(5)] == [-1, -1, -1, -1, -1]
    with pytest.raises(ZeroDivisionError) as caught:
        next(begun)
    assert caught.value.item_index == 5
    assert caught.value.__notes__ == ["in async_map, at item 5 (from 0)"]
    assert list(begun) == []
    assert not new_threads()


def test_items_are_counted_from_the_beginning_of_the_pass_when_it_is_resumed():
    chain = IterableSource(range(10)).async_map(lambda x: 1 // (x - 5))
    begun = iter(chain)
    [next(begun) for _ in range(3)]
    chain.load_state_dict(begun.state_dict())
    begun.close()

    with pytest.raises(ZeroDivisionError) as caught:
        chain.collect()

    assert caught.value.item_index == 5


@pytest.mark.parametrize("kw", [{}, {"chunk_size": 4}, {"ordered": False}])
def test_results_before_an_error_of_the_source_are_given(kw):
    def failing():
        yield from range(10)
        raise OSError("the source broke")

    begun = iter(IterableSource(failing).async_map(double, **kw))
    results = [next(begun) for _ in range(10)]

    assert sorted(results) == [2 * x for x in range(10)]
    with pytest.raises(OSError, match="the source broke") as caught:
        next(begun)
    assert not hasattr(caught.value, "item_index")


@pytest.mark.parametrize("chunk_size", [1, 3])
def test_an_error_in_a_process_comes_with_its_type_and_the_text_of_its_traceback(processes, chunk_size):
    begun = iter(IterableSource([4, 1, -1, 9]).async_map(math.sqrt, executor=processes, chunk_size=chunk_size))

    assert [next(begun), next(begun)] == [2, 1]
    with pytest.raises(ValueError) as caught:
        next(begun)
    assert caught.value.item_index == 2
    assert "Traceback" in str(caught.value.__cause__)


def test_what_cannot_be_pickled_is_told_at_its_item(processes):
    with pytest.raises(Exception, match="pickle"):
        IterableSource([1]).async_map(lambda x: x, executor=processes).collect()


def test_a_process_that_dies_is_told():
    with ProcessPoolExecutor(1, get_context("spawn")) as executor, pytest.raises(BrokenProcessPool):
        IterableSource([1]).async_map(os._exit, executor=executor).collect()


# Ends


def test_stopping_early_cancels_what_has_not_started_and_waits_for_what_runs(new_threads):
    gate, running = Gate(), Gate()
    called, done = [], []

    def work(x):
        called.append(x)
        if x == 1:
            running.open()
            gate.wait()
        done.append(x)
        return x

    begun = iter(IterableSource(range(100)).async_map(work, max_workers=1))
    next(begun)
    running.wait()
    # What runs can go on once the pass is on its way to its end.
    threading.Timer(0.01, gate.open).start()
    begun.close()

    assert called == done == [0, 1]
    assert not new_threads()


def test_a_given_executor_is_neither_closed_nor_left_with_work(pool):
    gate = Gate()
    called = []

    def work(x):
        called.append(x)
        if x > 0:
            gate.wait()
        return x

    begun = iter(IterableSource(range(100)).async_map(work, buffer=50, executor=pool))
    next(begun)
    begun.close()
    gate.open()

    # Whatever was still to be called would be called before this.
    assert pool.submit(plain, 5).result() == 5
    assert len(called) <= 4


@pytest.mark.parametrize("number", [1, 2])
def test_one_executor_serves_several_steps_of_a_chain(number):
    with ThreadPoolExecutor(number) as executor:
        chain = IterableSource(range(40)).async_map(double, executor=executor).async_map(double, executor=executor)

        assert chain.collect() == chain.collect() == [4 * x for x in range(40)]


def test_closing_does_not_wait_for_a_source_that_says_nothing(new_threads):
    gate = Gate()

    def live():
        yield 1
        gate.wait()

    begun = iter(IterableSource(live).async_map(double))
    next(begun)
    begun.close()

    gate.open()
    assert ends(lambda: not new_threads())


def test_closing_ends_a_step_that_waits_for_the_one_upstream_of_it(new_threads):
    gate = Gate()
    begun = iter(IterableSource(range(5)).async_map(lambda x: x and gate.wait()).async_map(double))
    next(begun)

    begun.close()

    gate.open()
    assert ends(lambda: not new_threads())


# Executors


def test_processes_serve_and_stay_alive(processes):
    chain = IterableSource(range(20)).async_map(operator.neg, executor=processes)

    assert chain.collect() == chain.collect() == [-x for x in range(20)]
    assert processes.submit(abs, -1).result() == 1


def test_threads_fetch_and_processes_transform_in_one_chain(processes):
    chain = IterableSource(range(20)).async_map(double).async_map(operator.neg, executor=processes, chunk_size=4)

    assert chain.collect() == [-2 * x for x in range(20)]


def test_a_chain_is_copied_with_its_executor(pool):
    chain = IterableSource(range(5)).async_map(double, executor=pool)

    assert copy.deepcopy(chain).collect() == chain.loop(1).collect() == [0, 2, 4, 6, 8]


def test_numba_is_another_name_for_numba_map():
    pytest.importorskip("numba")

    chain = IterableSource([1, 2]).async_map(double, executor="numba", plus=1)

    assert chain.collect() == chain.collect() == [3, 5]


@pytest.mark.filterwarnings("ignore")
def test_a_dask_client_serves_computes_equal_items_each_and_stays_alive():
    distributed = pytest.importorskip("distributed")

    with distributed.Client(processes=False, n_workers=1, threads_per_worker=1, dashboard_address=None) as client:
        assert len(set(IterableSource([1, 1, 1]).async_map(lambda x: uuid4().hex, executor=client))) == 3
        assert IterableSource(range(9)).async_map(double, executor=client).collect() == [2 * x for x in range(9)]
        assert sorted(IterableSource([1, 2]).async_map(double, executor=client, ordered=False)) == [2, 4]
        assert client.submit(double, 4).result() == 8


@pytest.mark.parametrize(
    "wrong",
    [{"buffer": 0}, {"chunk_size": 0}, {"max_workers": 0}, {"executor": 3}, {"executor": "dask"}, {"on_error": 1}],
)
def test_wrong_arguments_are_refused_when_the_step_is_built(wrong):
    with pytest.raises((TypeError, ValueError), match=next(iter(wrong))):
        IterableSource([1]).async_map(double, **wrong)


def test_an_executor_of_ones_own_is_one_of_concurrent_futures():
    class Now(ThreadPoolExecutor):
        def submit(self, function, /, *args, **kw):
            future = Future()
            future.set_result(function(*args, **kw))
            return future

    assert IterableSource(range(9)).async_map(double, executor=Now(1)).collect() == [2 * x for x in range(9)]


# Stores


def test_sink_stores_all_in_order_before_it_returns():
    store = Pool()

    assert IterableSource(range(30)).map(double).sink(store) is None

    assert store.values == {key: 2 * key for key in range(30)}


def test_sink_raises_the_first_error():
    with pytest.raises(ZeroDivisionError) as caught:
        store = Pool()
        store.set = lambda value: 1 // value
        IterableSource([1, 0, 2]).sink(store)

    assert caught.value.item_index == 1


def test_prefetch_reads_keys_in_their_order_in_threads_of_its_own():
    class Watched(Pool):
        def get(self, key):
            assert threading.current_thread().name.startswith("smartml")
            return super().get(key)

    store = Watched()
    IterableSource("abcdef").sink(store)

    assert IterableSource(store.keys()).prefetch(store).batched(2).collect() == [["a", "b"], ["c", "d"], ["e", "f"]]


def test_prefetch_reads_shards_in_the_pool_and_gives_their_items():
    class Shards(Pool):
        def get(self, key):
            for item in self.values[key]:
                assert threading.current_thread().name.startswith("smartml")
                yield item

    store = Shards()
    IterableSource([[1, 2], [], [3]]).sink(store)

    assert IterableSource(store.keys()).prefetch(store).collect() == [1, 2, 3]


def test_a_list_that_a_store_gives_is_one_item():
    store = Pool()
    IterableSource([[1, 2], [3]]).sink(store)

    assert IterableSource(store.keys()).prefetch(store, ordered=False, max_workers=1).collect() == [[1, 2], [3]]


def test_a_resumed_prefetch_reads_no_shard_again_that_was_given():
    read = []

    class Shards(Pool):
        def get(self, key):
            read.append(key)
            return iter([key, key])

    chain = IterableSource(range(20)).prefetch(Shards(), buffer=2, max_workers=1)
    begun = iter(chain)
    [next(begun) for _ in range(21)]
    state = begun.state_dict()
    begun.close()
    read.clear()

    chain.load_state_dict(state)

    assert next(iter(chain)) == 10
    assert read[0] == 10
