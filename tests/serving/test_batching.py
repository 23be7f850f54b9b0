"""Requests are joined to batches."""

import asyncio
import threading

import pytest

from smartml.errors import ArgumentValueError, QueueFullError
from smartml.serving.batching import Batcher
from smartml.serving.limits import BatchLimits


class Model:
    """Doubles numbers, when it is let to; notes what it was given at once."""

    def __init__(self):
        self.batches = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.began = threading.Event()

    def __call__(self, requests):
        self.batches.append([list(samples) for samples in requests])
        self.began.set()
        assert self.may_go_on.wait(20)
        return [[2 * sample for sample in samples] for samples in requests]


def run_with(model, scenario, **limits):
    """Run a scenario, which gets a batcher, and return what it returns."""

    async def run():
        batcher = Batcher(model, BatchLimits(**limits))
        running = asyncio.create_task(batcher.run())
        try:
            return await scenario(batcher)
        finally:
            model.may_go_on.set()
            batcher.close()
            await asyncio.wait_for(running, 20)

    return asyncio.run(run())


async def begun(model):
    """Wait until the model has a batch."""
    assert await asyncio.to_thread(model.began.wait, 20)


async def submit_while_busy(model, batcher, requests):
    """Submit one request that the model works on, and others meanwhile; return their tasks."""
    model.may_go_on.clear()
    tasks = [asyncio.create_task(batcher.submit([0]))]
    await begun(model)
    tasks += [asyncio.create_task(batcher.submit(samples)) for samples in requests]
    while batcher.queued < sum(map(len, requests)):
        await asyncio.sleep(0)
    return tasks


def test_a_request_gets_its_own_answer():
    model = Model()

    async def scenario(batcher):
        return await asyncio.gather(*(batcher.submit([number, number + 1]) for number in range(50)))

    assert run_with(model, scenario) == [[2 * number, 2 * number + 2] for number in range(50)]


def test_what_comes_while_the_model_works_makes_one_batch():
    model = Model()

    async def scenario(batcher):
        tasks = await submit_while_busy(model, batcher, [[1], [2, 3], [4]])
        model.may_go_on.set()
        return await asyncio.gather(*tasks)

    assert run_with(model, scenario) == [[0], [2], [4, 6], [8]]
    assert model.batches == [[[0]], [[1], [2, 3], [4]]]


def test_a_batch_has_no_more_samples_than_allowed_and_no_request_is_divided():
    model = Model()

    async def scenario(batcher):
        tasks = await submit_while_busy(model, batcher, [[1, 1], [2, 2], [3], [4] * 9, [5]])
        model.may_go_on.set()
        return await asyncio.gather(*tasks)

    run_with(model, scenario, max_batch_size=4, max_wait_s=0)
    assert model.batches == [[[0]], [[1, 1], [2, 2]], [[3]], [[4] * 9], [[5]]]


def test_an_idle_model_waits_for_as_many_as_it_had_before():
    model = Model()

    async def scenario(batcher):
        tasks = await submit_while_busy(model, batcher, [[1], [2], [3]])
        model.may_go_on.set()
        await asyncio.gather(*tasks)
        first = asyncio.create_task(batcher.submit([4]))
        for _ in range(10):
            await asyncio.sleep(0)
        await asyncio.gather(first, batcher.submit([5]), batcher.submit([6]))

    # Long enough to fail by the deadline of the test, were it waited for.
    run_with(model, scenario, max_wait_s=60)
    assert model.batches[-1] == [[4], [5], [6]]


def test_one_client_alone_is_not_made_to_wait():
    model = Model()

    async def scenario(batcher):
        for number in range(5):
            await asyncio.wait_for(batcher.submit([number]), 20)

    run_with(model, scenario, max_wait_s=60)
    assert model.batches == [[[0]], [[1]], [[2]], [[3]], [[4]]]


def test_clients_that_do_not_come_again_are_waited_for_once():
    model = Model()

    async def scenario(batcher):
        tasks = await submit_while_busy(model, batcher, [[1], [2], [3]])
        model.may_go_on.set()
        await asyncio.gather(*tasks)
        for number in range(4, 7):
            await asyncio.wait_for(batcher.submit([number]), 20)

    run_with(model, scenario, max_wait_s=0.05)
    assert model.batches[2:] == [[[4]], [[5]], [[6]]]


def test_a_full_queue_refuses_at_once_and_takes_again_when_it_has_room():
    model = Model()

    async def scenario(batcher):
        tasks = await submit_while_busy(model, batcher, [[1, 2], [3]])
        with pytest.raises(QueueFullError, match="3 samples wait, and there is room for 4"):
            await batcher.submit([4, 5])
        tasks.append(asyncio.create_task(batcher.submit([6])))
        model.may_go_on.set()
        await asyncio.gather(*tasks)
        return await batcher.submit([7])

    assert run_with(model, scenario, max_queued=4) == [14]


def test_a_request_larger_than_the_queue_is_taken_when_nobody_waits():
    model = Model()
    assert run_with(model, lambda batcher: batcher.submit([1] * 9), max_queued=4) == [2] * 9


def test_who_has_gone_is_left_out():
    model = Model()

    async def scenario(batcher):
        tasks = await submit_while_busy(model, batcher, [[1], [2]])
        tasks[1].cancel()
        model.may_go_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    answers = run_with(model, scenario)
    assert answers[0] == [0] and isinstance(answers[1], asyncio.CancelledError) and answers[2] == [4]
    assert model.batches[1] == [[2]]


def test_closing_answers_what_waits_and_refuses_the_rest():
    model = Model()

    async def scenario(batcher):
        tasks = await submit_while_busy(model, batcher, [[1], [2]])
        batcher.close()
        with pytest.raises(QueueFullError, match="stopping"):
            await batcher.submit([3])
        model.may_go_on.set()
        return await asyncio.gather(*tasks)

    assert run_with(model, scenario) == [[0], [2], [4]]


def test_an_error_of_the_answer_reaches_every_request_of_the_batch_and_no_other():
    calls = []

    class Failing(Model):
        def __call__(self, requests):
            calls.append(requests)
            if len(calls) == 2:
                raise ZeroDivisionError("no")
            return super().__call__(requests)

    model = Failing()

    async def scenario(batcher):
        tasks = await submit_while_busy(model, batcher, [[1], [2]])
        model.may_go_on.set()
        return [*await asyncio.gather(*tasks, return_exceptions=True), await batcher.submit([3])]

    first, second, third, last = run_with(model, scenario)
    assert (first, last) == ([0], [6])
    assert isinstance(second, ZeroDivisionError) and isinstance(third, ZeroDivisionError)


@pytest.mark.parametrize("limits", [{"max_batch_size": 0}, {"max_queued": 0}, {"max_wait_s": -1}, {"max_wait_s": 61}])
def test_limits_that_cannot_work_are_refused(limits):
    with pytest.raises(ArgumentValueError, match=next(iter(limits))):
        BatchLimits(**limits)
