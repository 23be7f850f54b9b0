"""What a feed keeps of what arrives, and where: everything, or as much as a policy has room for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from smartml.errors import ArgumentValueError
from smartml.feeds.bounded import BoundedSet
from smartml.feeds.buffer import Column, TrainingSet
from smartml.feeds.capacity import Capacity, read_capacity
from smartml.feeds.discovery import Arrival
from smartml.feeds.intake import receive_chosen
from smartml.feeds.packing import unpack
from smartml.feeds.policies import POLICIES, Policy, read_policy
from smartml.feeds.storage import Storage, read_storage
from smartml.feeds.transfer import Outcome, receive
from smartml.store import Database

AnySet: TypeAlias = TrainingSet | BoundedSet


@dataclass(frozen=True)
class Keeping:
    """How much is kept, by which policy, in which memory. Either both of the first two are given, or none."""

    capacity: Capacity | None
    policy: Policy | None
    storage: Storage

    def make_set(self, columns: Sequence[Column], needed: int, random: np.random.Generator) -> AnySet:
        """Make an empty set. Raises ArgumentValueError when it could never hold as many samples as are needed."""
        if self.capacity is None or self.policy is None:
            return TrainingSet(columns, self.storage)
        row_size = sum(column.row_size for column in columns)
        rows = self.capacity.rows(row_size)
        if rows < needed:
            raise ArgumentValueError(
                f"capacity has room for {rows} samples ({self.capacity}, a sample takes {row_size} bytes), "
                f"a batch needs {needed}: raise the capacity, or lower batch_size"
            )
        return BoundedSet(columns, rows, self.policy, random, self.storage)


def read_keeping(capacity: int | str | None, policy: str | Policy, storage: str | Path, needed: int) -> Keeping:
    """Understand what a user wants to be kept; batches need so many samples."""
    chosen, size = read_policy(policy), None if capacity is None else read_capacity(capacity)
    if chosen is None and size is not None:
        raise ArgumentValueError(
            f"policy 'all' keeps everything and knows no capacity ({size}): "
            f"choose who stays by policy={', '.join(map(repr, POLICIES))}, or leave the capacity out"
        )
    if chosen is not None and size is None:
        raise ArgumentValueError(f"policy {policy!r} needs a capacity: a number of samples, or text such as '2gb'")
    if size is not None and size.samples is not None and size.samples < needed:
        raise ArgumentValueError(
            f"capacity={size.samples} samples are fewer than a batch needs ({needed}): "
            "raise the capacity, or lower batch_size"
        )
    return Keeping(size, chosen, read_storage(storage))


def receive_into(database: Database, training_set: AnySet, arrivals: Sequence[Arrival]) -> Outcome:
    """Receive arrivals, or what the set's policy wants of them."""
    if isinstance(training_set, BoundedSet):
        return receive_chosen(database, training_set, arrivals)
    return receive(database, training_set, arrivals)


def read_packed_columns(state: Mapping[str, Any]) -> list[Column]:
    """Return the columns of the samples that a state holds."""
    arrays = [unpack(packed) for packed in state["columns"]]
    return [Column(array.dtype, array.shape[1:]) for array in arrays]
