"""Keras: a callback that logs what `fit` goes through."""

from collections.abc import Mapping
from typing import Any

from smartml.errors import ArgumentValueError, MissingDependencyError
from smartml.extras import missing
from smartml.monitor.logger import EXIT_TIMEOUT_S, DataLogger

try:
    from keras.callbacks import Callback
except ImportError as error:
    raise MissingDependencyError(missing("keras", "smartml.monitor.keras", "keras")) from error

__all__ = ["MonitorCallback"]


class MonitorCallback(Callback):  # type: ignore[misc]
    """Log losses and metrics of `fit`: `batch/<metric>` by step, `epoch/<metric>` by epoch, fields x and y.

        model.fit(feed, callbacks=[MonitorCallback(log)])

    log: by default one of its own, which goes where the environment says. Steps and epochs count on when `fit` is
    called again. every_batches: of the batches only each so-many-th; 0 logs epochs alone. What the server does not take
    never stops a training; when it ends, what is left is sent for some seconds at most.
    """

    def __init__(self, log: DataLogger | None = None, every_batches: int = 1) -> None:
        super().__init__()
        if isinstance(every_batches, bool) or not isinstance(every_batches, int) or every_batches < 0:
            raise ArgumentValueError(f"every_batches must be 0 or a positive number, not {every_batches!r}")
        self.log = DataLogger() if log is None else log
        self._every_batches = every_batches
        self._step = 0
        self._epoch = 0

    def on_train_batch_end(self, batch: int, logs: Mapping[str, Any] | None = None) -> None:
        if self._every_batches and self._step % self._every_batches == 0:
            self._write("batch", self._step, logs)
        self._step += 1

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        rate = getattr(self.model.optimizer, "learning_rate", None)
        self._write("epoch", self._epoch, logs)
        if rate is not None:
            self.log.write("epoch/learning_rate", x=self._epoch, y=float(rate))
        self._epoch += 1

    def on_train_end(self, logs: Mapping[str, Any] | None = None) -> None:
        self.log.flush(EXIT_TIMEOUT_S)

    def _write(self, kind: str, x: int, logs: Mapping[str, Any] | None) -> None:
        for metric, value in (logs or {}).items():
            self.log.write(f"{kind}/{metric}", x=x, y=value)
