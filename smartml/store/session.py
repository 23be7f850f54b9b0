"""What all of a client's commands share: the database, the names, and waiting for something to become true."""

import operator
import time
from collections.abc import Callable
from typing import SupportsIndex, TypeVar

from smartml.errors import ArgumentTypeError, ArgumentValueError, NotFoundError
from smartml.store.database import Database
from smartml.store.fullness import put_when_there_is_room
from smartml.store.index import Announcer
from smartml.store.keys import KeyNames

Result = TypeVar("Result")


class Session:
    """Base of the command families that `Client` joins."""

    _database: Database
    _keys: KeyNames
    # Tells feeds what is put; None in a cluster.
    _announcer: Announcer | None

    def _poll(self, check: Callable[[], bool], poll_frequency_ms: int, num_tries: int) -> bool:
        """Check up to `num_tries` times, `poll_frequency_ms` apart; return at once when the check holds."""
        interval_s = checked_count(poll_frequency_ms, "poll_frequency_ms") / 1000
        for attempt in range(checked_int(num_tries, "num_tries")):
            if attempt:
                time.sleep(interval_s)
            if check():
                return True
        return False

    def _put_when_there_is_room(self, put: Callable[[], Result]) -> Result:
        """Run what puts something; wait in a full database, as the client's `full_timeout_s` says."""
        return put_when_there_is_room(self._database, put)

    def _not_found(self, error: type[NotFoundError], what: str, key: bytes) -> NotFoundError:
        """Word the error of a missing key: which key, where, and what there is instead."""
        similar = self._database.similar_keys(key)
        instead = f"similar keys: {', '.join(map(repr, similar))}" if similar else "nothing there has a similar name"
        return error(f"no {what} under key {key.decode(errors='replace')!r} at {self._database.address}; {instead}")


def checked_int(value: SupportsIndex, name: str) -> int:
    """Return a whole number (numpy's integers are ones, too), or raise ArgumentTypeError."""
    try:
        return operator.index(value)
    except TypeError:
        raise ArgumentTypeError(f"{name} must be int, not {type(value).__name__}: {value!r:.80}") from None


def checked_count(value: SupportsIndex, name: str) -> int:
    """Return a whole number from 0 on, or raise ArgumentTypeError or ArgumentValueError."""
    number = checked_int(value, name)
    if number < 0:
        raise ArgumentValueError(f"{name} must not be negative: {number}")
    return number
