"""A lock inside objects that are copied and sent to other processes."""

import threading
from typing import Any


class Guard:
    """Lets one thread at a time pass. A copy, in this process or another, is a new one that nobody holds."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    def __reduce__(self) -> tuple[Any, ...]:
        return Guard, ()
