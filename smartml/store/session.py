"""What all of a client's commands share: the database, the names, and waiting for something to become true."""

import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from smartml.errors import ArgumentValueError
from smartml.store.arguments import Names, checked_count, checked_int, checked_names
from smartml.store.database import Database
from smartml.store.fullness import put_when_there_is_room
from smartml.store.index import Announcer
from smartml.store.inference import StoredPrograms
from smartml.store.keys import KeyNames

Result = TypeVar("Result")


class Session:
    """Base of the command families that `Client` joins."""

    _database: Database
    _keys: KeyNames
    # Tells feeds what is put; None in a cluster.
    _announcer: Announcer | None
    # What the database can run.
    _models: StoredPrograms
    _scripts: StoredPrograms

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

    def _tensors_of_run(self, inputs: Names, outputs: Names) -> tuple[Sequence[bytes], Sequence[bytes]]:
        """Return the keys of the tensors that a model or script reads, and of those that it writes."""
        read, written = checked_names(inputs, "inputs"), checked_names(outputs, "outputs")
        if not read or not written:
            raise ArgumentValueError(
                f"inputs and outputs are needed, the names of tensors, at least one of each: {inputs!r}, {outputs!r}"
            )
        return self._keys.tensors(read), self._keys.tensors(written, write=True)
