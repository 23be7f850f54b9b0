"""A predictor in service: requests are joined, counted, and answered by the best checkpoint there is."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

from smartml.serving.batching import Batcher, Outcome, Sample
from smartml.serving.limits import BatchLimits
from smartml.serving.metrics import Metrics
from smartml.serving.predictor import Predictor
from smartml.serving.reload import CheckpointWatch

logger = logging.getLogger(__name__)


class Reply(NamedTuple):
    """What samples of one request became, and the name of the checkpoint that answered all of them."""

    answers: list[dict[str, Any]]
    checkpoint: str


class Service:
    """Answers requests of one event loop while `running`."""

    def __init__(
        self,
        predictor: Predictor,
        limits: BatchLimits,
        *,
        watch: CheckpointWatch | None = None,
        reload_interval_s: float = 1.0,
    ) -> None:
        # The one in use: read once for each batch, so that a request has one only.
        self.predictor = predictor
        self.metrics = Metrics()
        self._limits = limits
        self._watch = watch
        self._reload_interval_s = reload_interval_s
        self._batcher: Batcher | None = None
        # In the batch before.
        self._seconds_per_sample = 0.0
        # Of those that the watch tells of.
        self._counted_failures = 0
        self.metrics.watch_queue(lambda: 0 if self._batcher is None else self._batcher.queued)

    @property
    def is_running(self) -> bool:
        """Whether requests are answered."""
        return self._batcher is not None

    @property
    def backlog_s(self) -> float:
        """What is left to do for those who wait, at the pace of the batch before."""
        return 0.0 if self._batcher is None else self._batcher.queued * self._seconds_per_sample

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Answer requests; at the end, those that were taken."""
        batcher = Batcher(self._answer, self._limits)
        answering = asyncio.create_task(batcher.run())
        reloading = asyncio.create_task(self._reload()) if self._watch is not None else None
        self._batcher = batcher
        try:
            yield
        finally:
            if reloading is not None:
                reloading.cancel()
            batcher.close()
            await answering
            self._batcher = None

    async def predict(self, samples: Sequence[Sample]) -> Reply:
        """Answer the samples of one request, all by one checkpoint.

        Raises QueueFullError where too many wait, SampleError and PredictionError as `Predictor.predict` does.
        """
        assert self._batcher is not None, "the service runs"
        reply = await self._batcher.submit(samples)
        assert isinstance(reply, Reply)
        return reply

    def _answer(self, requests: Sequence[Sequence[Sample]]) -> list[Outcome]:
        """Answer a batch, in the thread of the model."""
        predictor, began = self.predictor, time.perf_counter()
        outcomes = predictor.answer(requests, batch_size=self._limits.max_batch_size)
        took_s, size = time.perf_counter() - began, sum(map(len, requests))
        self._seconds_per_sample = took_s / size
        self.metrics.model_seconds.observe(took_s)
        self.metrics.batch_samples.observe(size)
        return [
            outcome if isinstance(outcome, BaseException) else Reply(outcome, predictor.name) for outcome in outcomes
        ]

    async def _reload(self) -> None:
        """Take better checkpoints into use, until cancelled."""
        assert self._watch is not None
        while True:
            await asyncio.sleep(self._reload_interval_s)
            # Not in the model's thread: requests are answered while a checkpoint is read.
            found = await asyncio.to_thread(self._watch.look)
            if found is not None:
                self.predictor = found
                self.metrics.reloads.inc()
            failures = self._watch.failures
            self.metrics.failed_reloads.inc(failures - self._counted_failures)
            self._counted_failures = failures
