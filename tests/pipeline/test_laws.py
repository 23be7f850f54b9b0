"""What holds for every step: each law is stated once, and tried on all."""

import copy
import json
import pickle
import random
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smartml.pipeline import IterableSamplerSource, IterableSource

from .table import CASES, double

pytestmark = pytest.mark.filterwarnings("error")
EVERY_STEP = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
LENGTHS = st.integers(0, 40)
FEW = settings(max_examples=15, deadline=None)


class Counted:
    """A list that counts what is pulled from it."""

    def __init__(self, length):
        self.length, self.pulled = length, 0

    def __iter__(self):
        for number in range(self.length):
            self.pulled += 1
            yield number


def chain_of(case, length):
    return case.add(IterableSource(list(range(length))))


def first(items, number):
    return [item for _, item in zip(range(number), items, strict=False)]


def ends(condition):
    """Wait until a condition holds, or too long."""
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return condition()


@EVERY_STEP
@FEW
@given(length=LENGTHS)
def test_a_second_pass_equals_the_first(case, length):
    chain = chain_of(case, length)

    assert chain.collect() == chain.collect()


@EVERY_STEP
def test_two_passes_at_once_are_independent(case):
    chain = chain_of(case, 20)
    expected = chain.collect()

    one, other = iter(chain), iter(chain)
    begun = first(one, 3)
    whole = list(other)

    assert whole == expected
    assert begun + list(one) == expected


@EVERY_STEP
def test_an_empty_source_gives_an_end(case):
    for _ in iter(chain_of(case, 0)):
        pass


@EVERY_STEP
def test_a_pass_that_ended_stays_at_its_end(case):
    begun = iter(chain_of(case, 5))
    list(begun)

    assert list(begun) == []


@EVERY_STEP
def test_nothing_is_pulled_before_it_is_asked_for_and_then_no_more_than_stated(case):
    source = Counted(200)
    begun = iter(case.add(IterableSource(source)))
    assert source.pulled == 0
    for number in range(1, 21):
        next(begun, None)
        assert source.pulled <= case.most(number)


@EVERY_STEP
@pytest.mark.parametrize("taken", [0, 1, 4])
def test_stopping_early_leaves_no_thread(case, taken, new_threads):
    begun = iter(chain_of(case, 100))
    first(begun, taken)

    del begun

    assert ends(lambda: not new_threads())


@EVERY_STEP
def test_closing_ends_a_pass_and_its_threads(case, new_threads):
    begun = iter(chain_of(case, 100))
    first(begun, 2)

    begun.close()

    assert ends(lambda: not new_threads())
    assert list(begun) == []


@EVERY_STEP
@pytest.mark.parametrize("when", ["before", "during", "after"])
@pytest.mark.parametrize("copied", [lambda it: pickle.loads(pickle.dumps(it)), copy.deepcopy, copy.copy])
def test_a_chain_can_be_pickled_and_copied(case, when, copied):
    chain = chain_of(case, 15)
    begun = iter(chain)
    if when != "before":
        first(begun, 100 if when == "after" else 2)

    twin = copied(chain)

    assert twin.collect() == chain_of(case, 15).collect()


@EVERY_STEP
@FEW
@given(length=LENGTHS, data=st.data())
def test_a_pass_resumes_at_the_exact_item(case, length, data):
    expected = chain_of(case, length).collect()
    position = data.draw(st.integers(0, len(expected)))
    begun = iter(chain_of(case, length))
    head = first(begun, position)

    state = json.loads(json.dumps(begun.state_dict()))
    resumed = chain_of(case, length)
    resumed.load_state_dict(state)

    assert head + resumed.collect() == expected
    # The state was for one pass.
    assert resumed.collect() == expected


@EVERY_STEP
def test_every_position_has_its_state_and_so_has_a_resumed_pass(case):
    expected = chain_of(case, 23).collect()
    begun = iter(chain_of(case, 23))
    for position in range(len(expected) + 1):
        resumed = chain_of(case, 23)
        resumed.load_state_dict(begun.state_dict())
        middle = iter(resumed)
        some = first(middle, 2)
        again = chain_of(case, 23)
        again.load_state_dict(middle.state_dict())

        assert some + again.collect() == expected[position:]
        next(begun, None)


@EVERY_STEP
def test_telling_where_a_pass_stands_changes_nothing(case):
    expected = chain_of(case, 20).collect()

    begun = iter(chain_of(case, 20))
    seen = []
    for item in begun:
        assert begun.state_dict() == begun.state_dict()
        seen.append(item)

    assert seen == expected


@EVERY_STEP
def test_the_chain_tells_of_the_pass_begun_last_even_when_it_is_gone(case):
    chain = chain_of(case, 20)
    expected = chain.collect()
    head = []
    for item in chain:
        head.append(item)
        if len(head) == 3:
            break

    chain.load_state_dict(chain.state_dict())

    assert head + chain.collect() == expected


@EVERY_STEP
def test_an_error_of_the_source_comes_behind_the_items_before_it(case, new_threads):
    def failing():
        yield from range(30)
        raise OSError("the source broke")

    whole = iter(case.add(IterableSource(failing)))
    seen = []
    try:
        for item in whole:
            seen.append(item)
    except OSError as error:
        assert str(error) == "the source broke"
    assert list(whole) == []
    assert ends(lambda: not new_threads())


class Unseedable(random.Random):
    """A generator that nobody may seed again."""

    def seed(self, *args, **kw):
        if args and args[0] == "first":
            super().seed(3)
        elif hasattr(self, "is_made"):
            raise AssertionError("the generator was seeded")


def unseedable():
    generator = Unseedable()
    generator.seed("first")
    generator.is_made = True
    return generator


@pytest.mark.parametrize(
    "add",
    [
        lambda source, **kw: source.shuffle(6, **kw),
        lambda source, **kw: IterableSamplerSource([source, range(50, 60), source.map(double)], **kw),
    ],
    ids=["shuffle", "sampler"],
)
class TestGenerators:
    def test_a_given_generator_is_never_seeded_and_makes_passes_that_differ_and_repeat(self, add):
        one = add(IterableSource(range(40)), rng=unseedable())
        other = add(IterableSource(range(40)), rng=unseedable())

        passes = [one.collect() for _ in range(3)]

        assert passes == [other.collect() for _ in range(3)]
        assert passes[0] != passes[1] != passes[2]
        assert sorted(passes[0]) == sorted(passes[1])

    def test_a_seed_beside_a_generator_decides_and_leaves_it_alone(self, add):
        chain = add(IterableSource(range(40)), rng=unseedable(), seed=1)

        assert chain.collect() == chain.collect() == add(IterableSource(range(40)), seed=1).collect()

    def test_without_a_seed_passes_differ_and_are_resumed_exactly(self, add):
        chain = add(IterableSource(range(100)))
        assert chain.collect() != chain.collect()
        begun = iter(chain)
        first(begun, 13)

        chain.load_state_dict(begun.state_dict())

        assert chain.collect() == list(begun)

    def test_nothing_is_drawn_before_the_first_item(self, add):
        generator = unseedable()
        before = generator.getstate()

        begun = iter(add(IterableSource(range(5)), rng=generator))

        assert generator.getstate() == before
        next(begun)
        assert generator.getstate() != before
