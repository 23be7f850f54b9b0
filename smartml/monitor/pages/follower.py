"""Follows records and keeps one copy of their points up to date, through failures of the record server."""

import logging
import threading
from collections.abc import Callable

from smartml.errors import MonitorError
from smartml.monitor.pages.collection import Collection
from smartml.monitor.records import Cursor, Records

logger = logging.getLogger(__name__)

# Before a source that failed is asked again: at first, and at most.
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0


class Follower:
    """A thread that takes up whatever is new, and says so.

    `on_change` is called in that thread after points have come, and when `problem` has changed.
    """

    def __init__(
        self, records: Records, collection: Collection, on_change: Callable[[], object], min_interval_s: float = 0.0
    ) -> None:
        self._records = records
        self._collection = collection
        self._on_change = on_change
        self._min_interval_s = min_interval_s
        # Why nothing new can come; None while all is well.
        self.problem: str | None = None
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="smartml-records", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread, and close the records."""
        self._closed.set()
        self._records.close()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        cursor: Cursor | None = None
        pause_s = _FIRST_PAUSE_S
        while not self._closed.is_set():
            try:
                for update in self._records.subscribe(cursor, min_interval_s=self._min_interval_s):
                    cursor, pause_s = update.cursor, _FIRST_PAUSE_S
                    if update:
                        self._collection.apply(update)
                    if update or self.problem:
                        self._tell(None)
                # It has ended without a word, because somebody closed it: asking again says why.
            except MonitorError as error:
                self._tell(str(error))
            except Exception as error:
                self._tell(f"reading records ended by an error of smartml's own: {error!r}; see the log of the server")
                raise
            self._closed.wait(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _tell(self, problem: str | None) -> None:
        if self._closed.is_set():
            return
        if problem and problem != self.problem:
            logger.warning("%s", problem)
        self.problem = problem
        self._on_change()
