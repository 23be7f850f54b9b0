"""What a producer in Python uses to feed trainers through an aggregation list."""

import logging
import os
import uuid
from typing import Any

from smartml.errors import ArgumentTypeError, ArgumentValueError, StoreConnectionError
from smartml.feeds.schemes import DataInfo
from smartml.store import Client, Dataset

logger = logging.getLogger(__name__)


class TrainingDataUploader:
    """Puts batches of samples, with their targets, where a `DataDownloader` of the same list finds them.

    The names of datasets hold a part that is different for every uploader, so that uploaders of one process, copies of
    one in forked processes, or a producer that is started again, never overwrite what is there.
    """

    def __init__(
        self,
        list_name: str = "training_data",
        sample_name: str = "samples",
        target_name: str | None = "targets",
        num_classes: int | None = None,
        cluster: bool | None = None,
        address: str | None = None,
        rank: int | None = None,
        verbose: bool = False,
    ) -> None:
        self._info = DataInfo(list_name, sample_name, target_name, num_classes)
        if rank is not None and not isinstance(rank, int):
            raise ArgumentTypeError(f"rank must be int or None, not {type(rank).__name__}: {rank!r:.80}")
        self.client = Client(cluster, address)
        self.rank = rank
        self.verbose = verbose
        self.batch_idx = 0
        self._renew_token()

    def __enter__(self) -> "TrainingDataUploader":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the database. Using the uploader again opens new ones."""
        self.client.close()

    @property
    def list_name(self) -> str:
        """Name of the aggregation list."""
        return self._info.list_name

    @property
    def sample_name(self) -> str:
        """Name of the samples within each dataset."""
        return self._info.sample_name

    @property
    def target_name(self) -> str | None:
        """Name of the targets within each dataset; None for samples without."""
        return self._info.target_name

    @property
    def num_classes(self) -> int | None:
        """Number of classes, where targets are labels."""
        return self._info.num_classes

    def publish_info(self) -> None:
        """Tell trainers that know only the list's name what the list holds."""
        self._info.publish(self.client)

    def put_batch(self, samples: Any, targets: Any = None) -> None:
        """Put a batch: samples of shape (n, *sample_shape), targets of shape (n, *target_shape).

        Trainers see the batch once all of it is there. Raises ArgumentTypeError for what is not an array or
        for targets that the list has no name for, ArgumentValueError when the two differ in number.
        """
        dataset = self._make_dataset(samples, targets)
        self.client.put_dataset(dataset)
        try:
            self.client.append_to_list(self.list_name, dataset)
        except StoreConnectionError:
            # Whether the entry arrived is unknown; a second one is harmless, since feeds count a dataset once.
            self.client.append_to_list(self.list_name, dataset)
        level = logging.INFO if self.verbose else logging.DEBUG
        logger.log(level, "put batch %d of %s", self.batch_idx, self.list_name)
        self.batch_idx += 1

    def _make_dataset(self, samples: Any, targets: Any) -> Dataset:
        if self._token_owner != os.getpid():
            self._renew_token()
        parts = (self.list_name, self.rank, self._token, self.batch_idx)
        dataset = Dataset("_".join(str(part) for part in parts if part is not None))
        # Not copied: the batch is put before the caller goes on.
        dataset.add_tensor(self.sample_name, samples, copy=False)
        if targets is not None and self.target_name != self.sample_name:
            if self.target_name is None:
                raise ArgumentTypeError("targets were given, but the uploader has no target_name for them")
            dataset.add_tensor(self.target_name, targets, copy=False)
        shapes = {name: dataset.get_tensor(name).shape for name in dataset.get_tensor_names()}
        if () in shapes.values() or len({shape[0] for shape in shapes.values()}) > 1:
            given = " and ".join(f"{name} of shape {shape}" for name, shape in shapes.items())
            raise ArgumentValueError(f"axis 0 counts samples, and must be there and agree: {given}")
        return dataset

    def _renew_token(self) -> None:
        self._token, self._token_owner = uuid.uuid4().hex[:12], os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._renew_token()
