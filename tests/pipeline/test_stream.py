"""Chains: what building one does, what a pass over it is, and steps of one's own."""

import copy
import pickle
import subprocess
import sys
from functools import partial

import pytest

from smartml.errors import StateError
from smartml.pipeline import Composable, IterableSource, Pass


def broken(*args):
    raise AssertionError("this ran too early")


class Labelled(Composable):
    def __iter__(self):
        for item in iter(self.source):
            yield f"_{item}", item


class Times(Composable):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def __iter__(self):
        for item in self.source:
            yield self.factor * item


# Building


def test_building_and_beginning_a_chain_runs_nothing():
    chain = IterableSource(broken).map(broken).filter(broken).flatten().batched(2).shuffle(5).async_map(broken)

    iter(chain)


def test_a_chain_is_no_iterator_and_always_true():
    chain = IterableSource([])

    with pytest.raises(TypeError):
        next(chain)
    assert chain


def test_source_leads_upstream():
    items = [1, 2]
    source = IterableSource(items)
    chain = source.map(str).take(1)

    assert chain.source.source is source
    assert source.source is items


@pytest.mark.parametrize("wrong", [None, 3])
def test_what_cannot_be_iterated_is_told_at_the_first_item(wrong):
    begun = iter(IterableSource(wrong))

    with pytest.raises(TypeError):
        next(begun)


def test_sources_are_iterables_of_any_kind():
    assert IterableSource().collect() == []
    assert IterableSource("ab").collect() == IterableSource({"a": 1, "b": 2}).collect() == ["a", "b"]
    assert IterableSource(partial(range, 2)).collect() == [0, 1]
    assert IterableSource(IterableSource([1]).map(str)).collect() == ["1"]
    assert IterableSource(lambda: IterableSource([1]).map(str)).collect() == ["1"]


def test_join_runs_to_the_end():
    seen = []

    assert IterableSource([1, 2]).map(seen.append).join() is None
    assert seen == [1, 2]


# Steps of one's own


def test_compose_adds_a_class_of_ones_own():
    chain = IterableSource([1, 2]).compose(Labelled)

    assert isinstance(chain, Labelled)
    assert chain.collect() == [("_1", 1), ("_2", 2)]
    assert chain.compose(Labelled).map(lambda it: it[0]).collect() == ["_('_1', 1)", "_('_2', 2)"]


def test_compose_hands_arguments_to_the_constructor():
    assert IterableSource([1, 2]).compose(Times, 3).collect() == [3, 6]
    assert IterableSource([1, 2]).compose(partial(Times, factor=3)).map(str).collect() == ["3", "6"]


def test_a_step_that_is_handed_out_twice_belongs_to_two_chains():
    step = Labelled()

    one = IterableSource([1]).compose(lambda: step)
    other = IterableSource([2]).compose(lambda: step)

    assert one.collect() == [("_1", 1)]
    assert other.collect() == [("_2", 2)]


def test_compose_refuses_a_constructor_that_takes_the_source():
    class Taking(Composable):
        def __init__(self, source=None):
            super().__init__(source)

    with pytest.raises(ValueError, match="source"):
        IterableSource([1]).compose(Taking)
    with pytest.raises(ValueError, match="source"):
        IterableSource([1]).compose(Times, source=[1])
    with pytest.raises(TypeError, match="Composable"):
        IterableSource([1]).compose(list)


def test_a_step_without_iter_is_told():
    class Nothing(Composable):
        pass

    with pytest.raises(TypeError, match="has no __iter__"):
        IterableSource([1]).compose(Nothing).collect()


def test_a_step_of_ones_own_may_read_its_source_twice():
    class Twice(Composable):
        def __iter__(self):
            yield from self.source
            yield from self.source

    assert IterableSource([1, 2]).shuffle(2, seed=1).compose(Twice).map(str).take(4).collect().count("1") == 2


# Passes


def test_a_pass_is_its_own_iterator_and_closes_with_a_block():
    with iter(IterableSource([1, 2]).map(str)) as begun:
        assert isinstance(begun, Pass)
        assert iter(begun) is begun
        assert next(begun) == "1"
    assert list(begun) == []


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_pass_is_no_description(copied):
    with pytest.raises(TypeError):
        copied(iter(IterableSource([1])))


def test_a_pass_can_be_sent_elsewhere_before_its_first_item():
    chain = IterableSource([1, 2, 3])
    begun = iter(chain)
    next(begun)

    other = iter(IterableSource([1, 2, 3]))
    other.load_state_dict(begun.state_dict())
    assert list(other) == [2, 3]

    with pytest.raises(StateError, match="has begun"):
        begun.load_state_dict(begun.state_dict())


def test_a_state_belongs_to_chains_of_the_same_steps():
    state = iter(IterableSource([1]).map(str)).state_dict()

    with pytest.raises(StateError, match="'IterableSource > map'"):
        IterableSource([1]).filter(str).load_state_dict(state)
    with pytest.raises(StateError, match="version 7"):
        IterableSource([1]).map(str).load_state_dict({**state, "version": 7})
    with pytest.raises(StateError, match="no state"):
        IterableSource([1]).load_state_dict({"epoch": 3})
    with pytest.raises(StateError, match="no pass"):
        IterableSource([1]).state_dict()


def test_a_state_that_was_loaded_is_told_until_a_pass_begins_there():
    chain = IterableSource([1, 2, 3])
    begun = iter(chain)
    next(begun)
    state = begun.state_dict()

    chain.load_state_dict(state)

    assert chain.state_dict() == state
    assert chain.collect() == [2, 3]


def test_skipping_calls_no_map_for_what_was_given():
    called = []
    chain = IterableSource(range(10)).map(lambda x: called.append(x) or x)
    begun = iter(chain)
    [next(begun) for _ in range(6)]
    called.clear()

    chain.load_state_dict(begun.state_dict())

    assert chain.collect() == called == [6, 7, 8, 9]


class Stateful:
    """A source that knows the way by itself."""

    def __init__(self):
        self.position = 0
        self.opened_at = []

    def __iter__(self):
        self.opened_at.append(self.position)
        while self.position < 6:
            self.position += 1
            yield self.position

    def state_dict(self):
        return {"position": self.position}

    def load_state_dict(self, state_dict):
        self.position = state_dict["position"]


def test_a_source_that_tells_where_it_stands_is_asked_and_not_read_forward():
    begun = iter(IterableSource(Stateful()).map(str))
    assert [next(begun) for _ in range(4)] == ["1", "2", "3", "4"]

    source = Stateful()
    resumed = IterableSource(source).map(str)
    resumed.load_state_dict(begun.state_dict())

    assert resumed.collect() == ["5", "6"]
    assert source.opened_at == [4]


def test_items_that_a_step_holds_are_read_again_from_a_source_that_is_asked():
    expected = IterableSource(Stateful()).shuffle(3, initial=2, seed=1).collect()
    begun = iter(IterableSource(Stateful()).shuffle(3, initial=2, seed=1))
    head = [next(begun) for _ in range(3)]

    resumed = IterableSource(Stateful()).shuffle(3, initial=2, seed=1)
    resumed.load_state_dict(begun.state_dict())

    assert head + resumed.collect() == expected


def test_a_state_of_a_source_that_is_asked_needs_such_a_source():
    begun = iter(IterableSource(Stateful()))
    next(begun)
    chain = IterableSource([1, 2, 3])
    chain.load_state_dict(begun.state_dict())

    with pytest.raises(StateError, match="source"):
        chain.collect()


def test_importing_the_pipeline_imports_nothing_but_what_it_always_needs():
    # What `import smartml` needs by itself is not this package's to say.
    code = """
import sys, smartml
before = set(sys.modules)
import smartml.pipeline
print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)

    assert set(done.stdout.split()) & {"torch", "tensorflow", "dask", "distributed", "numba", "tqdm", "fsspec"} == set()


def test_the_pipeline_does_not_import_numpy_itself():
    code = """
import sys, types
package = types.ModuleType("smartml")
package.__path__ = [sys.argv[1]]
sys.modules["smartml"] = package
import smartml.pipeline
print("numpy" in sys.modules)
"""
    import smartml

    folder = smartml.__path__[0]
    done = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=60, check=True)

    assert done.stdout == "False\n"
