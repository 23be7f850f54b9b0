"""The training set grows as a list would, and never moves what it holds."""

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from smartml.feeds.buffer import Column, TrainingSet

from .conftest import peak_memory

NUMBER = Column(np.dtype("float32"), ())
# Samples so large that the first block of memory holds three.
LARGE = Column(np.dtype("float32"), (75_000,))


def fill(training_set, *values):
    """Reserve rows and write the values; the samples are not part of the set yet."""
    slot = training_set.reserve(len(values))
    for array in slot.arrays:
        array.T[...] = values
    return slot


def content(training_set):
    return training_set.column(0).tolist()


def test_an_empty_set_holds_nothing():
    training_set = TrainingSet([NUMBER])

    assert len(training_set) == 0
    assert content(training_set) == []


def test_samples_join_when_they_are_kept():
    training_set = TrainingSet([NUMBER])
    slot = fill(training_set, 1, 2)
    assert len(training_set) == 0

    training_set.keep([slot])

    assert len(training_set) == 2
    assert content(training_set) == [1, 2]


def test_rows_that_are_not_kept_leave_no_gap():
    training_set = TrainingSet([NUMBER])
    first, _, third = fill(training_set, 1), fill(training_set, 2, 2, 2), fill(training_set, 3, 4)

    training_set.keep([first, third])

    assert content(training_set) == [1, 3, 4]


def test_slots_may_be_kept_in_any_order():
    training_set = TrainingSet([NUMBER])
    first, second, third = fill(training_set, 1), fill(training_set, 2), fill(training_set, 3)
    del first

    training_set.keep([third, second])

    assert content(training_set) == [2, 3]


def test_a_batch_copies_rows_of_all_columns_in_the_order_of_the_set():
    training_set = TrainingSet([NUMBER, Column(np.dtype("int64"), (2,))])
    slot = training_set.reserve(3)
    slot.arrays[0][:] = [5, 6, 7]
    slot.arrays[1][:] = [[50, 51], [60, 61], [70, 71]]
    training_set.keep([slot])

    samples, targets = training_set.take(np.array([2, 0]))
    samples[0] = 99

    assert targets.tolist() == [[50, 51], [70, 71]]
    assert content(training_set) == [5, 6, 7]


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_the_set_equals_a_list_whatever_comes_and_goes(data):
    training_set = TrainingSet([LARGE])
    expected, value = [], 0
    for _ in range(data.draw(st.integers(1, 6), "updates")):
        given_out = []
        for _ in range(data.draw(st.integers(0, 4), "slots")):
            rows = data.draw(st.integers(0, 4), "rows")
            slot = training_set.reserve(rows)
            values = list(range(value, value + rows))
            value += rows
            # The ends of a row tell whether it lies where it should.
            slot.arrays[0][:, 0] = slot.arrays[0][:, -1] = values
            given_out.append((slot, values))
        kept = [pair for pair in given_out if data.draw(st.booleans(), "kept")]
        expected += [value for _, values in kept for value in values]
        training_set.keep([slot for slot, _ in data.draw(st.permutations(kept), "order")])

    chosen = data.draw(st.lists(st.sampled_from(range(len(expected))), unique=True) if expected else st.just([]))
    (batch,) = training_set.take(np.array(chosen, np.intp))

    assert len(training_set) == len(expected)
    assert batch[:, 0].tolist() == batch[:, -1].tolist() == [expected[index] for index in sorted(chosen)]


def test_growing_moves_nothing_that_is_held():
    training_set = TrainingSet([LARGE])
    first = fill(training_set, 1)
    training_set.keep([first])

    for value in range(2, 30):
        training_set.keep([fill(training_set, value)])
    # Still the memory that was given out at the beginning.
    first.arrays[0][0] = 77

    assert training_set.take(np.array([0]))[0][0, 0] == 77


def test_growing_copies_nothing_that_is_held():
    training_set = TrainingSet([LARGE])
    for value in range(40):
        training_set.keep([fill(training_set, value)])
    held = len(training_set) * LARGE.row_size

    def grow():
        for value in range(20):
            training_set.keep([fill(training_set, value)])

    # One new block, about as large as all before it; an array that grows would need twice as much.
    assert peak_memory(grow) < 1.5 * held


def test_few_blocks_hold_many_batches():
    training_set = TrainingSet([LARGE])
    memories = set()
    for value in range(200):
        slot = fill(training_set, value)
        memories.add(slot.arrays[0].base.ctypes.data)
        training_set.keep([slot])

    assert len(memories) <= 8


def test_samples_may_be_taken_while_others_join():
    training_set = TrainingSet([LARGE])
    training_set.keep([fill(training_set, 0)])
    errors = []

    def grow():
        for value in range(1, 300):
            dropped = fill(training_set, -1)
            slot = fill(training_set, value)
            del dropped
            training_set.keep([slot])

    writer = threading.Thread(target=grow)
    writer.start()
    while writer.is_alive():
        indices = np.arange(len(training_set))[-5:]
        (batch,) = training_set.take(indices)
        if batch[:, 0].tolist() != indices.tolist() or batch[:, -1].tolist() != indices.tolist():
            errors.append((indices, batch[:, 0]))
    writer.join()

    assert not errors
    assert len(training_set) == 300
