"""Servers that have ended by themselves are started again, as often as the policy allows."""

import logging
import threading
from collections.abc import Callable

from smartml.errors import SmartMLError
from smartml.experiment.node import Node
from smartml.experiment.supervisor import supervisor

logger = logging.getLogger(__name__)

# A server that has run for so long does not fail in a row any more.
_LASTING_S = 60.0

# The first restart comes at once, for clients are waiting; each further one twice as long after the one before.
_SECOND_DELAY_S = 0.5
_LONGEST_DELAY_S = 30.0


class Restarts:
    """Start each server again at most `limit` times in a row. One for each start of a database.

    `launch` starts the server of a node anew and returns at once; `settle` waits until it serves, and puts it in the
    place of the other. Both raise SmartMLError when that fails.
    """

    def __init__(self, limit: int, launch: Callable[[Node], Node], settle: Callable[[Node, Node], None]) -> None:
        self.limit = limit
        self._launch = launch
        self._settle = settle
        self._closing = threading.Event()
        self._lock = threading.Lock()
        # By name of the node: how often in a row it was started again, and the thread that is about to do so.
        self._counts: dict[str, int] = {}
        self._threads: dict[str, threading.Thread] = {}
        # Started again, and not yet serving.
        self._coming: list[Node] = []

    @property
    def is_busy(self) -> bool:
        """True while a server is about to be started again."""
        return bool(self._threads)

    def begin(self, node: Node) -> bool:
        """Start the server of a node again, in a thread of its own; False when it has been often enough."""
        with self._lock:
            if node.job is not None and node.job.runtime_s > _LASTING_S:
                self._counts.pop(node.name, None)
            if self._closing.is_set() or self._counts.get(node.name, 0) >= self.limit:
                return False
            thread = threading.Thread(target=self._run, args=(node,), name=f"restart {node.name}", daemon=True)
            self._threads[node.name] = thread
        thread.start()
        return True

    def close(self) -> None:
        """Start nothing more, and end what was about to come up."""
        with self._lock:
            self._closing.set()
            threads = list(self._threads.values())
            coming = [node.job for node in self._coming if node.job is not None]
        supervisor.stop(coming)
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join()

    def _run(self, node: Node) -> None:
        try:
            while not self._closing.wait(self._delay_s(node)):
                with self._lock:
                    number = self._counts[node.name] = self._counts.get(node.name, 0) + 1
                if self._try(node, number):
                    return
                if number >= self.limit:
                    logger.error("%s is given up after %d restarts", node.title, number)
                    return
        finally:
            with self._lock:
                # One that ended again at once has another thread already.
                if self._threads.get(node.name) is threading.current_thread():
                    self._threads.pop(node.name)

    def _delay_s(self, node: Node) -> float:
        count = self._counts.get(node.name, 0)
        return min(_LONGEST_DELAY_S, _SECOND_DELAY_S * 2 ** (count - 1)) if count else 0.0

    def _try(self, node: Node, number: int) -> bool:
        again: Node | None = None
        try:
            with self._lock:
                if self._closing.is_set() or supervisor.is_closing:
                    return False
                again = self._launch(node)
                self._coming.append(again)
            self._settle(node, again)
        except SmartMLError as error:
            if again is not None and again.job is not None:
                supervisor.stop([again.job])
            if not self._closing.is_set():
                logger.error("%s cannot be started again (%d of %d): %s", node.title, number, self.limit, error)
            return False
        finally:
            with self._lock:
                if again in self._coming:
                    self._coming.remove(again)
        logger.warning("%s serves again (restart %d of %d)", node.title, number, self.limit)
        return True
