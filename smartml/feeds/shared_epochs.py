"""Replicas in step: all agree on what was found, who gets which of it, and how many batches an epoch has.

Whoever is first to look finds for all, and whoever is first to begin an epoch begins it for all: the others read in the
database what that one has written (snapshots.py). Each then receives its own share.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import FeedError
from smartml.feeds.capacity import Capacity
from smartml.feeds.discovery import Arrival, Discovery, places_of
from smartml.feeds.samplers import Batching
from smartml.feeds.shares import Shares
from smartml.feeds.snapshots import LIFETIME_S, Epoch, Finding, Snapshots
from smartml.store import Database
from smartml.store.descriptions import find_descriptions
from smartml.tensors import TensorDescription

logger = logging.getLogger(__name__)

# What is gone of a share is looked up at first, and when some of it was missing 4, 8, 16 … times in a row.
_MISSING_BEFORE_LOOK_UP = 4


@dataclass(frozen=True)
class Terms:
    """What all replicas must have in common."""

    # A share for each worker of each replica.
    replicas: int
    workers: int
    batching: Batching
    # Of each share.
    capacity: Capacity | None


class SharedEpochs:
    """One replica's view of the epochs of its group. One without a share (None) only begins epochs, for others."""

    def __init__(
        self, database: Database, discovery: Discovery, snapshots: Snapshots, share: int | None, terms: Terms
    ) -> None:
        self._database, self._discovery, self._snapshots = database, discovery, snapshots
        self._share, self._terms = share, terms
        self._shares = Shares(terms.replicas, terms.workers)
        # How many findings were dealt out.
        self._findings = 0
        # Bytes of a sample with its target, as soon as that is known.
        self._row_size: int | None = None
        # Of the own share, what was not dealt with yet, and how often in a row something of it was missing.
        self.waiting: list[Arrival] = []
        self._missing = 0
        # Number and content of the running epoch; -1 before the first.
        self.number = -1
        self.epoch: Epoch | None = None

    # What was found

    def read(self) -> None:
        """Deal out what others have found."""
        findings = self._snapshots.read_findings(self._findings)
        if findings:
            # What these are, as far as that shows, is looked up together with what is new.
            self._discovery.find()
        for finding in findings:
            if self._row_size is None and self._terms.capacity is not None:
                # Found by another, and this one may be the next to say how many batches an epoch has.
                self._count_rows(self._discovery.arrivals(finding.places))
            is_own = np.array(self._shares.deal(finding.rows.tolist())) == self._share
            self.waiting += self._discovery.arrivals(finding.places[is_own])
            self._discovery.confirm(finding.places)
            self._findings += 1

    def look(self) -> None:
        """Find what is new, for all."""
        is_first = not self._findings
        self.read()
        if is_first and self._findings:
            # Of what was found before this replica came, some may be gone.
            self._drop_gone()
        places = self._discovery.find()
        if not len(places):
            return
        rows = self._count_rows(self._discovery.arrivals(places))
        is_there = rows >= 0
        if is_there.any():
            self._snapshots.propose_finding(self._findings, Finding(places[is_there], rows[is_there]))
            self.read()

    def _count_rows(self, arrivals: Sequence[Arrival]) -> NDArray[np.int64]:
        """Read how many samples arrivals hold: -1 where one is gone again, 0 where it holds none that can be taken."""
        keys = [key for arrival in arrivals for key in arrival.keys]
        found = iter(find_descriptions(self._database, keys))
        rows = np.zeros(len(arrivals), np.int64)
        for number, arrival in enumerate(arrivals):
            descriptions = [next(found) for _ in arrival.keys]
            if arrival.problem is None and None in descriptions:
                rows[number] = -1
            known = [each for each in descriptions if isinstance(each, TensorDescription) and each.shape]
            if len(known) == len(descriptions):
                rows[number] = known[0].shape[0]
                if self._row_size is None and rows[number]:
                    self._row_size = sum(each.payload_size // max(1, each.shape[0]) for each in known)
        return rows

    def settle(self, arrivals: Sequence[Arrival]) -> None:
        """Note arrivals of the own share as dealt with, or ask, ever more rarely, whether what is missing is gone."""
        settled = {arrival.place for arrival in arrivals}
        self.waiting = [arrival for arrival in self.waiting if arrival.place not in settled]
        self._missing = self._missing + 1 if self.waiting else 0
        if self._missing >= _MISSING_BEFORE_LOOK_UP and self._missing & (self._missing - 1) == 0:
            self._drop_gone()

    def _drop_gone(self) -> None:
        if not self.waiting:
            return
        gone = self._discovery.find_gone(places_of(self.waiting))
        self.waiting = [arrival for arrival, is_gone in zip(self.waiting, gone, strict=True) if not is_gone]
        if gone.any():
            logger.warning("%d batches of this replica's share are gone: deleted, or dropped", gone.sum())

    # Resuming

    def state_dict(self) -> dict[str, Any]:
        """Return which epoch this is, how much was dealt out, and what of the own share was not dealt with."""
        return {
            "findings": self._findings,
            "waiting": [arrival.place for arrival in self.waiting],
            "row_size": self._row_size,
            "number": self.number,
            "epoch": None if self.epoch is None else vars(self.epoch).copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on in the epoch in which another one was. Raises FeedError when the database has forgotten it."""
        findings = self._snapshots.read_findings(0)[: state["findings"]]
        if len(findings) < state["findings"]:
            raise FeedError(
                "the database no longer knows what the replicas of this checkpoint had agreed on: it is kept for "
                f"{LIFETIME_S // 86400} days, in the database where they ran. Begin anew, without the state of the feed"
            )
        for finding in findings:
            self._shares.deal(finding.rows.tolist())
            self._discovery.confirm(finding.places)
        self._findings = len(findings)
        self.waiting = self._discovery.arrivals(np.array(state["waiting"], np.int64).reshape(-1, 2))
        self._row_size = state["row_size"]
        self.number = state["number"]
        if state["epoch"] is not None:
            self.epoch = Epoch(**{**state["epoch"], "batches": tuple(state["epoch"]["batches"])})

    # Epochs

    def _count_batches(self) -> list[int]:
        """Return how many batches an epoch over all that was found would have in each share."""
        capacity = self._terms.capacity
        rows = None
        if capacity is not None:
            if capacity.samples is None and self._row_size is None:
                return []
            rows = capacity.rows(self._row_size or 1)
        return self._shares.count_batches(self._terms.batching, rows)

    def begin(self, is_growing: bool) -> bool:
        """Go on to the next epoch; tell whether there is one: all that it needs may not be there yet.

        One who comes late begins with the epoch that the others are in. Those that do not grow are all alike.
        """
        number = self.number + 1
        if self.epoch is None:
            number = max(self._snapshots.count_epochs() - 1, 0)
        while True:
            agreed = self._snapshots.read_epochs(number)
            if not agreed:
                epoch = self.epoch if not is_growing and self.epoch is not None else self._propose()
                if not any(epoch.batches):
                    return False
                agreed = [self._snapshots.agree_on_epoch(number, epoch)]
            if not agreed[0].is_end:
                break
            number += 1
        self.number, self.epoch = number, agreed[0]
        if self._findings < self.epoch.findings:
            self.look()
        return True

    def _propose(self) -> Epoch:
        self.look()
        return Epoch(self._findings, tuple(self._count_batches()))

    def agree_on_end(self, is_growing: bool, have_ended: Callable[[], bool]) -> bool:
        """Tell whether the running epoch was the last: producers had ended, and nothing of theirs was left out."""
        assert self.epoch is not None
        agreed = self._snapshots.read_epochs(self.number + 1)
        if not agreed:
            if not have_ended():
                return False
            if is_growing:
                self.look()
                if self._findings > self.epoch.findings or self.waiting:
                    return False
            end = Epoch(self._findings, (), is_end=True)
            agreed = [self._snapshots.agree_on_epoch(self.number + 1, end)]
        if agreed[0].is_end and self.waiting:
            logger.warning(
                "%d batches of this replica's share were not served: there was no room for them before the last epoch",
                len(self.waiting),
            )
        return agreed[0].is_end
