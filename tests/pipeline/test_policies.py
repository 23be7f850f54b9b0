"""What becomes of items whose function fails."""

import logging
import math
import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from smartml.pipeline import IterableSource, Raise, Retry, Skip
from smartml.pipeline.policies import Act, Answer

STEPS = pytest.mark.parametrize(
    "step",
    [
        lambda chain, *args, **kw: chain.map(*args, **kw),
        lambda chain, *args, **kw: chain.async_map(*args, max_workers=2, **kw),
        lambda chain, *args, **kw: chain.async_map(*args, max_workers=2, chunk_size=3, **kw),
    ],
    ids=["map", "async_map", "async_map in chunks"],
)


def inverse(x):
    return 60 // x


class Flaky:
    """Fails for so many calls per item, then answers."""

    def __init__(self, failures):
        self.failures, self.calls = failures, {}

    def __call__(self, x):
        self.calls[x] = self.calls.get(x, 0) + 1
        if self.calls[x] <= self.failures:
            raise ConnectionError(f"try {self.calls[x]}")
        return x


@STEPS
def test_raise_is_what_happens_unless_told_otherwise(step):
    for chain in (step(IterableSource([1, 0]), inverse), step(IterableSource([1, 0]), inverse, on_error=Raise())):
        with pytest.raises(ZeroDivisionError):
            chain.collect()


@STEPS
def test_skip_leaves_items_out_counts_them_per_pass_and_logs_the_first(step, caplog):
    skip = Skip()
    chain = step(IterableSource([1, 0, 2, 0, 3]), inverse, on_error=skip)

    with caplog.at_level(logging.WARNING):
        assert chain.collect() == [60, 30, 20]
    assert skip.count == 2
    assert len(caplog.records) == 1
    assert "item 1" in caplog.text

    chain.collect()
    assert skip.count == 2


@STEPS
def test_skip_is_for_the_errors_it_names(step):
    chain = step(IterableSource([2, 0]), inverse, on_error=Skip(OSError, KeyError))

    with pytest.raises(ZeroDivisionError) as caught:
        chain.collect()
    assert caught.value.item_index == 1


@STEPS
def test_skip_leaves_out_no_more_than_it_may(step):
    skip = Skip(at_most=2)
    begun = iter(step(IterableSource([0, 1, 0, 2, 0, 3]), inverse, on_error=skip))

    assert [next(begun), next(begun)] == [60, 30]
    with pytest.raises(ZeroDivisionError) as caught:
        next(begun)
    assert caught.value.item_index == 4
    assert skip.count == 2


@STEPS
def test_retry_calls_again_and_then_gives_up(step):
    flaky = Flaky(failures=2)

    assert step(IterableSource([1, 2, 3]), flaky, on_error=Retry(times=2)).collect() == [1, 2, 3]
    assert flaky.calls == {1: 3, 2: 3, 3: 3}
    with pytest.raises(ConnectionError, match="try 2"):
        step(IterableSource([1]), Flaky(failures=2), on_error=Retry(times=1)).collect()


@STEPS
def test_retry_then_skip(step):
    skip = Skip()

    assert step(IterableSource([1, 2]), Flaky(failures=5), on_error=Retry(2, then=skip)).collect() == []
    assert skip.count == 2


def test_retry_waits_before_each_try(monkeypatch):
    waits = []
    monkeypatch.setattr("time.sleep", waits.append)

    IterableSource([1]).map(Flaky(failures=3), on_error=Retry(times=3, delay_s=0.5)).collect()

    assert waits == [0.5, 0.5, 0.5]


def test_retry_is_for_the_errors_it_names():
    flaky = Flaky(failures=1)

    with pytest.raises(ConnectionError):
        IterableSource([1]).map(flaky, on_error=Retry(kinds=(KeyError,))).collect()
    assert flaky.calls == {1: 1}


def test_a_policy_of_ones_own_is_asked():
    class Even:
        def answer(self, error, attempt):
            return Answer(Act.SKIP if error.args[0] % 2 == 0 else Act.RAISE)

        def begin_pass(self, step):
            return lambda error, number: noted.append((step, number))

    def fail(x):
        raise KeyError(x)

    noted = []
    with pytest.raises(KeyError):
        IterableSource([0, 2, 3]).map(fail, on_error=Even()).collect()
    assert noted == [("map", 0), ("map", 1)]


def test_prefetch_skips_keys_that_are_not_there():
    skip = Skip(KeyError)

    class Store(dict):
        def get(self, key):
            return self[key]

    assert IterableSource("abc").prefetch(Store(a=1, c=3), on_error=skip).collect() == [1, 3]
    assert skip.count == 1


def test_policies_work_where_the_function_does():
    skip = Skip(ValueError)
    with ProcessPoolExecutor(1, get_context("spawn")) as executor:
        chain = IterableSource([4, -1, 9]).async_map(math.sqrt, executor=executor, on_error=skip)

        assert chain.collect() == [2, 3]
    assert skip.count == 1


@pytest.mark.parametrize("policy", [Raise(), Skip(KeyError, at_most=3), Retry(2, then=Skip())], ids=repr)
def test_policies_travel(policy):
    assert repr(pickle.loads(pickle.dumps(policy))) == repr(policy)


@pytest.mark.parametrize(
    "wrong", [lambda: Skip("text"), lambda: Retry(0), lambda: Retry(1, -1), lambda: Retry(then=Skip)]
)
def test_wrong_policies_are_refused_when_they_are_built(wrong):
    with pytest.raises((TypeError, ValueError)):
        wrong()


@pytest.mark.parametrize("wrong", [Skip, "skip", 3])
def test_what_is_no_policy_is_refused_when_the_step_is_built(wrong):
    with pytest.raises(TypeError, match="on_error"):
        IterableSource([1]).map(inverse, on_error=wrong)
