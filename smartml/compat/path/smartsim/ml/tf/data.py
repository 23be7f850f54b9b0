"""Growing training sets for Keras."""

from typing import Any

from keras.utils import PyDataset

from smartml.feeds import keras as _ours
from smartsim.error.errors import SMARTSIM
from smartsim.ml.data import EitherArguments, FeedNames, WaitingNames
from smartsim.ml.earlier import StaticDataDownloader, is_earlier

__all__ = ["DynamicDataGenerator", "StaticDataGenerator"]


@SMARTSIM.speaks
class StaticDataGenerator(EitherArguments, WaitingNames, _ours.StaticDataGenerator, FeedNames):
    __doc__ = _ours.StaticDataGenerator.__doc__

    def __new__(cls, **kwargs: Any) -> Any:
        """Make a generator; with the arguments of 0.4.1, one of tensors that are found by their keys."""
        return _EarlierStaticGenerator(**kwargs) if is_earlier(kwargs) else super().__new__(cls)


@SMARTSIM.speaks
class DynamicDataGenerator(EitherArguments, WaitingNames, _ours.DynamicDataGenerator, FeedNames):
    __doc__ = _ours.DynamicDataGenerator.__doc__


class _EarlierStaticGenerator(StaticDataDownloader, PyDataset):  # type: ignore[misc]
    """The generator of 0.4.1 whose tensors have no iterations."""

    def __init__(self, **kwargs: Any) -> None:
        PyDataset.__init__(self)
        StaticDataDownloader.__init__(self, **kwargs)

    def __getitem__(self, index: int) -> Any:
        return self.batch(index)

    def on_epoch_end(self) -> None:
        """Begin a new pass."""
        self.update_data()
