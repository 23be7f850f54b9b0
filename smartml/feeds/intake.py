"""From the database into a set of bounded memory.

What the tensors are is read first, so that the policy decides before anything is transferred. What it takes in is
received beside the set, a bounded part at a time, and copied to its rows: a transfer that breaks off, or a tensor that
turns out not to fit, overwrites nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from smartml.errors import SampleMismatchError, SmartMLError, TensorFormatError
from smartml.feeds.bounded import BoundedSet
from smartml.feeds.buffer import TrainingSet
from smartml.feeds.discovery import Arrival
from smartml.feeds.transfer import Landing, Outcome, check_fit
from smartml.store import Database
from smartml.store.descriptions import find_descriptions

# So much is received beside the set at once; more only where a single arrival is larger.
_STAGING_BYTES = 8 << 20
# The policy is asked about so many arrivals at once. Where it lets some wait, those behind them are not looked at.
_ASKED_AT_ONCE = 4096


@dataclass(frozen=True)
class _Offer:
    arrival: Arrival
    rows: int
    # Which of its samples to take in: (rows,).
    chosen: NDArray[np.bool_]

    @property
    def is_wanted(self) -> bool:
        return bool(self.chosen.any())


def receive_chosen(database: Database, bounded_set: BoundedSet, arrivals: Sequence[Arrival]) -> Outcome:
    """Receive what the policy of a set takes in of arrivals.

    Those of all producers in turn, by their iterations. Where the transfer breaks off, the outcome says how far it
    came, and why.
    """
    outcome = Outcome()
    outcome.misfits += [(arrival, arrival.problem) for arrival in arrivals if arrival.problem is not None]
    in_turn = sorted((found for found in arrivals if found.problem is None), key=lambda arrival: arrival.place[1])
    # Lines of which an arrival is gone again: those behind it have to wait for it.
    stopped: set[int | None] = set()
    try:
        for first in range(0, len(in_turn), _ASKED_AT_ONCE):
            asked = [arrival for arrival in in_turn[first : first + _ASKED_AT_ONCE] if arrival.line not in stopped]
            offers, some_wait = _choose(database, bounded_set, asked, stopped, outcome)
            if not _take_in_parts(database, bounded_set, offers, outcome) or some_wait:
                break
    except BaseException as error:  # noqa: BLE001 - it is raised again when what joined before is noted.
        outcome.failure = error
    return outcome


def _choose(
    database: Database,
    bounded_set: BoundedSet,
    arrivals: Sequence[Arrival],
    stopped: set[int | None],
    outcome: Outcome,
) -> tuple[list[_Offer], bool]:
    """Ask the policy about all that fits; leave out what is gone again, and note what does not fit.

    Returns what may come, and whether something has to wait.
    """
    fitting: list[tuple[Arrival, int]] = []
    for arrival, rows in zip(arrivals, _read_rows(database, bounded_set, arrivals), strict=True):
        if arrival.line in stopped:
            continue
        if isinstance(rows, SmartMLError):
            outcome.misfits.append((arrival, rows))
        elif rows is not None:
            fitting.append((arrival, rows))
        elif arrival.line is not None:
            stopped.add(arrival.line)
    choices = bounded_set.choose([rows for _, rows in fitting])
    offers, some_wait = [], False
    for (arrival, rows), chosen in zip(fitting, choices, strict=True):
        if chosen is not None:
            offers.append(_Offer(arrival, rows, chosen))
        elif rows > bounded_set.capacity:
            # It would wait for ever.
            outcome.misfits.append((arrival, _too_large(arrival, rows, bounded_set.capacity)))
        else:
            some_wait = True
    return offers, some_wait


def _read_rows(
    database: Database, bounded_set: BoundedSet, arrivals: Sequence[Arrival]
) -> Iterator[int | SmartMLError | None]:
    """Read how many samples each arrival holds; None where it is gone, the error where it does not fit."""
    width = len(bounded_set.columns)
    found = find_descriptions(database, [key for arrival in arrivals for key in arrival.keys])
    for number, arrival in enumerate(arrivals):
        descriptions: list[Any] = found[number * width : (number + 1) * width]
        try:
            for description in descriptions:
                if isinstance(description, TensorFormatError):
                    raise description
            if None in descriptions:
                yield None
                continue
            check_fit(arrival, descriptions, bounded_set.columns)
            yield descriptions[0].shape[0]
        except SmartMLError as error:
            yield error


def _too_large(arrival: Arrival, rows: int, capacity: int) -> SampleMismatchError:
    return SampleMismatchError(
        f"tensor {arrival.keys[0].decode(errors='replace')!r} holds {rows} samples, the feed has room for {capacity}, "
        "and its policy takes in whole tensors: raise the capacity, or put smaller batches"
    )


def _count_wanted(offers: Sequence[_Offer]) -> int:
    return sum(offer.rows for offer in offers if offer.is_wanted)


def _parts(offers: Sequence[_Offer], most_rows: int) -> Iterator[list[_Offer]]:
    """Cut offers into parts of so many samples to transfer; one that is larger goes alone."""
    part: list[_Offer] = []
    rows = 0
    for offer in offers:
        wanted = offer.rows if offer.is_wanted else 0
        if part and rows + wanted > most_rows:
            yield part
            part, rows = [], 0
        part.append(offer)
        rows += wanted
    if part:
        yield part


def _take_in_parts(database: Database, bounded_set: BoundedSet, offers: Sequence[_Offer], outcome: Outcome) -> bool:
    """Receive offers, a bounded part at a time; tell whether all of it came as it was announced."""
    parts = list(_parts(offers, max(1, _STAGING_BYTES // max(1, bounded_set.row_size))))
    staging = TrainingSet(bounded_set.columns)
    # One block, of the size of the largest part, serves them all.
    staging.reserve(max((_count_wanted(part) for part in parts), default=0))
    staging.keep([])
    return all(_take_in(database, bounded_set, staging, part, outcome) for part in parts)


def _take_in(
    database: Database, bounded_set: BoundedSet, staging: TrainingSet, offers: Sequence[_Offer], outcome: Outcome
) -> bool:
    """Receive what is wanted and let all come in their order; tell whether all of it came as it was announced."""
    try:
        landing = Landing(staging, [offer.arrival for offer in offers if offer.is_wanted])
        landing.receive(database)
        landed, slots = landing.check()
        came = {id(arrival): slot for arrival, slot in zip(landed.joined, slots, strict=True)}
        failed = {id(arrival): error for arrival, error in landed.misfits}
        for offer in offers:
            slot = came.get(id(offer.arrival))
            if id(offer.arrival) in failed:
                outcome.misfits.append((offer.arrival, failed[id(offer.arrival)]))
                continue
            if offer.is_wanted and (slot is None or slot.rows != offer.rows):
                # It went away or was replaced meanwhile. The numbers that the policy counted on hold up to here.
                return False
            bounded_set.offer(offer.chosen, slot.arrays if slot is not None else ())
            outcome.joined.append(offer.arrival)
            outcome.rows.append(offer.rows)
        return True
    finally:
        staging.keep([])
