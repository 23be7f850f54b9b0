"""Growing training sets for Keras 3, on any of its backends."""

import logging
import operator
from collections.abc import Callable
from typing import Any

from smartml.errors import MissingDependencyError
from smartml.extras import missing
from smartml.feeds.downloader import DataDownloader

try:
    from keras.utils import PyDataset
except ImportError as error:
    raise MissingDependencyError(missing("keras", "smartml.feeds.keras", "keras")) from error

__all__ = ["DynamicDataGenerator", "StaticDataGenerator"]

logger = logging.getLogger(__name__)

# What PyDataset's constructor takes; everything else is for the feed.
_KERAS_ARGUMENTS = ("workers", "use_multiprocessing", "max_queue_size")


class _DataGenerator(DataDownloader, PyDataset):  # type: ignore[misc]
    """A feed that `fit` takes as its data. Waits for the first batch in the constructor.

    With `workers` above 1 (an argument of `PyDataset`), batches that these have read ahead at the end of an epoch are
    handed on to the next one by Keras (3.15, PyDatasetEnqueuer.stop): an epoch is then no exact pass.
    """

    def __init__(self, **kwargs: Any) -> None:
        PyDataset.__init__(self, **{name: kwargs.pop(name) for name in _KERAS_ARGUMENTS if name in kwargs})
        if self._is_read_ahead:
            logger.warning(
                "workers=%d: Keras hands batches that its workers have read ahead on to the next epoch, so that "
                "samples may come twice in one epoch and not at all in another. They lie in memory: workers=1 is as "
                "fast, and exact",
                self.workers,
            )
        DataDownloader.__init__(self, **kwargs)

    @property
    def _is_read_ahead(self) -> bool:
        # As in PyDatasetAdapter of keras/src/trainers/data_adapters/py_dataset_adapter.py.
        return bool(self.workers > 1 or (self.workers > 0 and self.use_multiprocessing))

    def __getitem__(self, index: int) -> Any:
        """Return batch `index` of the running pass. Has no side effect: Keras reads ahead."""
        return self.batch(index)

    @property
    def num_batches(self) -> "_LiveLength":
        """Number of batches in the running pass."""
        return _LiveLength(self)

    def on_epoch_begin(self) -> None:
        """Begin a new pass, so that what came since the end of the last one (during a validation, say) is part of it.

        Not where workers have begun to read it: Keras starts them before it calls this.
        """
        if not self._is_read_ahead:
            self.update_data()

    def on_epoch_end(self) -> None:
        """Begin a new pass. Keras calls this more often than once per epoch, which does no harm."""
        self.update_data()


class StaticDataGenerator(_DataGenerator):
    """A training set of what is in the database when it is built, in another order every epoch.

    Takes the keyword arguments of `DataDownloader` and those of `keras.utils.PyDataset`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dynamic": False})


class DynamicDataGenerator(_DataGenerator):
    """A training set that takes up what is new between epochs, within one `fit` or over many.

    Takes the keyword arguments of `DataDownloader` and those of `keras.utils.PyDataset`.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{**kwargs, "dynamic": True})


class _LiveLength:
    """The number of batches, read anew whenever it is used; behaves as the int it is at that moment.

    `fit` asks for the number once and keeps the answer for all its epochs. A plain int would end every later pass
    where the first one ended, however much the set has grown.
    """

    def __init__(self, feed: DataDownloader) -> None:
        self._feed = feed

    def __index__(self) -> int:
        return len(self._feed)

    def __hash__(self) -> int:
        return hash(len(self._feed))

    def __repr__(self) -> str:
        return repr(len(self._feed))

    def __format__(self, specification: str) -> str:
        return format(len(self._feed), specification)


def _as_operand(value: Any) -> Any:
    return int(value) if isinstance(value, _LiveLength) else value


def _forward(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda self, other: function(int(self), _as_operand(other))


def _backward(function: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    return lambda self, other: function(_as_operand(other), int(self))


for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(_LiveLength, f"__{_name}__", _forward(getattr(operator, _name)))
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod"):
    setattr(_LiveLength, f"__{_name}__", _forward(getattr(operator, _name)))
    setattr(_LiveLength, f"__r{_name}__", _backward(getattr(operator, _name)))
