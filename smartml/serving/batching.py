"""Several requests in one forward pass: a bounded queue, and one thread that runs the model.

The event loop parses requests and writes answers; the model runs in a thread of its own, mostly outside of Python's
lock. While it is busy, requests gather and make the next batch. When it is idle, and the batch before was larger than
what is there now, it waits a moment for others like that to come back, since clients that were answered together ask
again together: many clients get large batches, and one alone never waits.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from smartml.errors import QueueFullError
from smartml.serving.limits import BatchLimits

Sample: TypeAlias = Mapping[str, Any]
# What the samples of one request became, or why they did not.
Outcome: TypeAlias = Any | BaseException
# Answers several requests at once, in a thread: an outcome for each.
Answer: TypeAlias = Callable[[Sequence[Sequence[Sample]]], Sequence[Outcome]]


@dataclass
class _Waiting:
    samples: Sequence[Sample]
    outcome: asyncio.Future[Any]
    since: float = field(default_factory=time.monotonic)


class Batcher:
    """Joins requests to batches, in the order of their arrival, and has each answered as a whole.

    Belongs to the event loop that `run` runs in. After `close` what waits is still answered, and `run` ends.
    """

    def __init__(self, answer: Answer, limits: BatchLimits) -> None:
        self._answer = answer
        self._limits = limits
        self._waiting: deque[_Waiting] = deque()
        # Samples of those who wait.
        self.queued = 0
        # Requests in the batch before: so many may well come again.
        self._expected = 1
        # When the model had answered the batch before.
        self._free_since = 0.0
        # Set when a batch should begin, or may, or the end has come.
        self._changed = asyncio.Event()
        self._is_closed = False

    async def submit(self, samples: Sequence[Sample]) -> Any:
        """Return what the samples become, in one forward pass with those of others.

        Raises QueueFullError at once where too many wait, and what the answer to this request raised.
        """
        if self._is_closed:
            raise QueueFullError("the server is stopping and takes no further requests")
        if self._waiting and self.queued + len(samples) > self._limits.max_queued:
            raise QueueFullError(
                f"{self.queued} samples wait, and there is room for {self._limits.max_queued}: ask again later"
            )
        waiting = _Waiting(samples, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self.queued += len(samples)
        if len(self._waiting) == 1 or not self._may_grow():
            self._changed.set()
        return await waiting.outcome

    def close(self) -> None:
        """Take no more requests; what was taken is answered."""
        self._is_closed = True
        self._changed.set()

    async def run(self) -> None:
        """Answer requests until closed."""
        loop = asyncio.get_running_loop()
        try:
            with ThreadPoolExecutor(1, "smartml-model") as thread:
                while await self._gather():
                    batch = self._take()
                    outcomes = await loop.run_in_executor(thread, self._answer_all, batch)
                    for one, outcome in zip(batch, outcomes, strict=True):
                        _settle(one.outcome, outcome)
                    self._free_since = time.monotonic()
        finally:
            # Nobody is left who would answer.
            self._is_closed = True
            for one in self._waiting:
                one.outcome.cancel()

    def _answer_all(self, batch: Sequence[_Waiting]) -> Sequence[Outcome]:
        try:
            return self._answer([one.samples for one in batch]) if batch else []
        except Exception as error:  # noqa: BLE001 - it is raised in each request, and the next batch has another chance.
            return [error] * len(batch)

    async def _gather(self) -> bool:
        """Wait until a batch should begin; tell whether there is one, else all is over."""
        while not self._waiting:
            if self._is_closed:
                return False
            self._changed.clear()
            await self._changed.wait()
        deadline = max(self._waiting[0].since, self._free_since) + self._limits.max_wait_s
        while self._may_grow() and (left_s := deadline - time.monotonic()) > 0:
            self._changed.clear()
            try:
                await asyncio.wait_for(self._changed.wait(), left_s)
            except asyncio.TimeoutError:
                break
        return True

    def _may_grow(self) -> bool:
        is_full = self.queued >= self._limits.max_batch_size
        return not is_full and not self._is_closed and len(self._waiting) < self._expected

    def _take(self) -> list[_Waiting]:
        """Remove the next batch from the queue."""
        batch: list[_Waiting] = []
        size = 0
        while self._waiting and (not size or size + len(self._waiting[0].samples) <= self._limits.max_batch_size):
            one = self._waiting.popleft()
            self.queued -= len(one.samples)
            # Who asked may have gone.
            if not one.outcome.done():
                batch.append(one)
                size += len(one.samples)
        self._expected = max(1, len(batch))
        return batch


def _settle(future: asyncio.Future[Any], outcome: Outcome) -> None:
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
