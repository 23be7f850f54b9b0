"""What all of a client's commands share: the database, the names, and waiting for something to become true."""

import time
from collections.abc import Callable

from smartml.errors import ArgumentTypeError, NotFoundError
from smartml.store.database import Database
from smartml.store.keys import KeyNames


class Session:
    """Base of the command families that `Client` joins."""

    _database: Database
    _keys: KeyNames

    def _poll(self, check: Callable[[], bool], poll_frequency_ms: int, num_tries: int) -> bool:
        """Check up to `num_tries` times, `poll_frequency_ms` apart; return at once when the check holds."""
        for name, value in (("poll_frequency_ms", poll_frequency_ms), ("num_tries", num_tries)):
            if not isinstance(value, int):
                raise ArgumentTypeError(f"{name} must be int, not {type(value).__name__}: {value!r:.80}")
        for attempt in range(num_tries):
            if attempt:
                time.sleep(poll_frequency_ms / 1000)
            if check():
                return True
        return False

    def _not_found(self, error: type[NotFoundError], what: str, key: bytes) -> NotFoundError:
        """Word the error of a missing key: which key, where, and what there is instead."""
        similar = self._database.similar_keys(key)
        instead = f"similar keys: {', '.join(map(repr, similar))}" if similar else "nothing there has a similar name"
        return error(f"no {what} under key {key.decode(errors='replace')!r} at {self._database.address}; {instead}")
