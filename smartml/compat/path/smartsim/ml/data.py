"""Training data in aggregation lists, as from 0.4.2 on; that of the releases before is in `earlier`."""

import importlib
import logging
from typing import Any

from smartml import feeds as _ours
from smartml.store import Client
from smartsim.error.errors import SMARTSIM
from smartsim.ml.earlier import KeyUploader, earlier_feed_arguments, is_earlier

__all__ = [
    "DataDownloader",
    "DataInfo",
    "FeedNames",
    "TrainingDataUploader",
    "WaitingNames",
    "feed_arguments",
    "form_name",
]

logger = logging.getLogger("smartml.compat")


def form_name(*args: Any) -> str:
    """Join what is not None by underscores."""
    return "_".join(str(arg) for arg in args if arg is not None)


@SMARTSIM.speaks
class DataInfo(_ours.DataInfo):
    __doc__ = _ours.DataInfo.__doc__

    def publish(self, client: Any) -> None:
        """Put the information into the database; `client` may be one of SmartRedis itself."""
        dataset: Any = self.to_dataset()
        if not isinstance(client, Client):
            theirs = importlib.import_module("smartredis").Dataset(dataset.get_name())
            for name in dataset.get_metadata_field_names():
                is_text = dataset.get_metadata_field_type(name) is str
                values = dataset.get_meta_strings(name) if is_text else dataset.get_meta_scalars(name)
                for value in values:
                    (theirs.add_meta_string if is_text else theirs.add_meta_scalar)(name, value)
            dataset = theirs
        client.put_dataset(dataset)

    def download(self, client: Any) -> None:
        """Take over what was published; where nothing was, everything stays, and a warning says so."""
        name = self.to_dataset().get_name()
        if client.dataset_exists(name):
            self.take_over(client.get_dataset(name))
        else:
            logger.warning("nothing was published under %s: %s stays as it is", name, self.list_name)


@SMARTSIM.speaks
class TrainingDataUploader(_ours.TrainingDataUploader):
    __doc__ = _ours.TrainingDataUploader.__doc__

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an uploader; with the arguments of 0.4.1, one that puts tensors as those did."""
        return KeyUploader(*args, **kwargs) if is_earlier(kwargs) else super().__new__(cls)

    def __init__(
        self,
        list_name: str = "training_data",
        sample_name: str = "samples",
        target_name: str | None = "targets",
        num_classes: int | None = None,
        cluster: bool = True,
        address: str | None = None,
        rank: int | None = None,
        verbose: bool = False,
    ) -> None:
        super().__init__(list_name, sample_name, target_name, num_classes, asked(cluster), address, rank, verbose)


class FeedNames(_ours.DataDownloader):
    """What programs ask a feed besides, by SmartSim's names."""

    @property
    def list_name(self) -> str | None:
        """The name of the aggregation list; None for tensors that are found by their keys."""
        return getattr(self._scheme, "list_name", None)

    @property
    def sample_name(self) -> str:
        """The name of the samples."""
        return self._names[0]

    @property
    def target_name(self) -> str | None:
        """The name of the targets."""
        return self._names[1]

    @property
    def uploader_keys(self) -> list[str]:
        """The entities whose data is read."""
        return list(self.producers)

    @property
    def cluster(self) -> bool:
        """True where the database is a cluster."""
        return self.client.database.is_cluster

    @property
    def address(self) -> str:
        """Where the database is."""
        return str(self.client.database.address)


class EitherArguments:
    """Takes the arguments of 0.4.1, or later ones. It stands before the feed that it is joined to."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**(earlier_feed_arguments(kwargs) if is_earlier(kwargs) else feed_arguments(kwargs)))


class WaitingNames(_ours.DataDownloader):
    """How programs wait for the first samples, by SmartSim's names. It stands before the feed that it is joined to."""

    def init_samples(  # type: ignore[override]
        self, init_trials: int = -1, wait_interval: float = 10.0
    ) -> None:
        """Wait for the first batch, at most `init_trials` times `wait_interval` seconds."""
        super().init_samples(patience(init_trials, wait_interval))


@SMARTSIM.speaks
class DataDownloader(WaitingNames, FeedNames):
    __doc__ = _ours.DataDownloader.__doc__

    def __init__(
        self,
        data_info_or_list_name: _ours.DataInfo | str,
        batch_size: int = 32,
        dynamic: bool = True,
        shuffle: bool = True,
        cluster: bool = True,
        address: str | None = None,
        replica_rank: int = 0,
        num_replicas: int = 1,
        verbose: bool = False,
        init_samples: bool = True,
        max_fetch_trials: int = -1,
        wait_interval: float = 10.0,
    ) -> None:
        super().__init__(
            data_info_or_list_name,
            batch_size,
            dynamic,
            shuffle,
            asked(cluster),
            address,
            replica_rank,
            num_replicas,
            verbose,
            init_samples,
            wait_timeout_s=patience(max_fetch_trials, wait_interval),
        )


def feed_arguments(kwargs: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments of a feed of smartml, from those of one of SmartSim."""
    trials, interval = kwargs.pop("max_fetch_trials", -1), kwargs.pop("wait_interval", 10.0)
    return {"wait_timeout_s": patience(trials, interval), **kwargs, "cluster": asked(kwargs.get("cluster", True))}


def asked(cluster: bool) -> bool | None:
    """Return None, which has the server asked what it is, for a cluster: programs say so of single servers, too."""
    return None if cluster else False


def patience(trials: int, interval: float) -> float | None:
    """Return how long so many trials take, in seconds; None, without end, for a negative number."""
    return None if trials < 0 else trials * interval
